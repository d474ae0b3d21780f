"""Markdown as the Temporal UI draws it under a workflow's details: text as it is, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from refold.errors.words import printable

# The UI draws tables without any space between columns.
_GAP = "\N{NO-BREAK SPACE}" * 3

# What users' tables, errors and names hold must become neither markup nor another cell.
_ESCAPED = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#~&@"})
# GFM makes links of addresses without any mark.
_ADDRESS = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=mailto):|(?<=xmpp):|(?<=www)\.", re.IGNORECASE)
# At the beginning of a block: a list, a rule, an underline of what stands above.
_BEGINS = re.compile(r"[-+=]|[0-9]{1,9}(?=[.)])")
_SPACE = "&#32;"


def escaped(text: str) -> str:
    """One line of plain text as Markdown that shows exactly that, wherever it stands.

    What a page would act upon without showing it, such as a new line, a control character or a
    mark of direction, is shown as its escape sequence.
    """
    shown = printable(text)
    marked = _ADDRESS.sub(r"\\\g<0>", shown.translate(_ESCAPED))
    if begins := _BEGINS.match(marked):
        end = begins.end()
        # A digit cannot be escaped, the mark after it can.
        marked = f"{marked[:end]}\\{marked[end:]}" if marked[0].isdigit() else f"\\{marked}"
    # Spaces at the ends are dropped, or make a block of code.
    inner = marked.strip(" ")
    if not inner:
        return _SPACE * len(marked)
    before, after = len(marked) - len(marked.lstrip(" ")), len(marked) - len(marked.rstrip(" "))
    return _SPACE * before + inner + _SPACE * after


def code(text: str) -> str:
    """What to type, as code that shows exactly that; not for tables' cells."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    # One space at each end is not shown.
    return f"{fence} {shown} {fence}" if len(fence) > 1 else f"{fence}{shown}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; its cells are Markdown."""
    return [_row(head), "| " + " | ".join("---" for _ in head) + " |", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell + _GAP for cell in cells) + " |"
