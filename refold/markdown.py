"""Tables in Markdown, as the Temporal UI draws them under a workflow's details."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# The UI draws tables without any space between columns.
_GAP = "\N{NO-BREAK SPACE}" * 3

# Cells hold whatever users' tables do: it must not become markup, nor another cell.
_ESCAPED = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#~&"})


def escaped(text: str) -> str:
    """One line of plain text as Markdown that shows exactly that."""
    return text.translate(_ESCAPED)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; its cells are Markdown."""
    return [_row(head), "| " + " | ".join("---" for _ in head) + " |", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell + _GAP for cell in cells) + " |"
