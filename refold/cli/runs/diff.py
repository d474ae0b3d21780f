"""Shows a diff on the command line."""

from __future__ import annotations

from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from refold.cli.output import console
from refold.messages.run.diff import (
    Diff,
    WrongRow,
    headline,
    key_text,
    oracle_text,
    schema_changes,
    sides,
)
from refold.messages.run.diff_values import text_of
from refold.messages.run.preview import DiffSample

_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}


def show_diff(diff: Diff) -> None:
    """Prints a diff: the numbers, the columns, and some rows of each kind."""
    console.print(Text(f"{diff.projection}: {sides(diff)}"))
    console.print(Text(f"  rows: {diff.rows_live:,} live, {diff.rows_shadow:,} new"))
    console.print(Text(f"  {headline(diff)}"))
    console.print(Text(f"  {oracle_text(diff)}", style="bold red" if diff.folded_wrong else ""))
    if diff.note:
        console.print(Padding(Text(diff.note), (0, 0, 0, 2), expand=False))
    changes = schema_changes(diff)
    if changes:
        console.print()
        _print_table(["column is", ""], [[what, text_of(column)] for what, column in changes])
    if diff.columns:
        console.print()
        rows = [[text_of(column.column), f"{column.rows:,}"] for column in diff.columns]
        _print_table(["column", "rows that differ"], rows)
    for sample in diff.samples:
        _show_sample(sample)
    for wrong in diff.wrong:
        _show_wrong(wrong)


def _print_table(head: list[str], rows: list[list[str]]) -> None:
    table = Table(*head, box=None)
    for row in rows:
        # Text, not str: brackets in users' names and values are no markup.
        table.add_row(*[Text(cell, overflow="fold") for cell in row])
    console.print(table)


def _show_sample(sample: DiffSample) -> None:
    style = _STYLES[sample.kind]
    console.print()
    console.print(Text(sample.kind, style=style) + Text(f"  {key_text(sample.key)}"))
    if sample.live is not None and sample.shadow is not None:
        _show_pairs(["", "live", "new"], sample.live, sample.shadow)
    else:
        row = sample.live if sample.shadow is None else sample.shadow
        _show_columns(row or {})


def _show_wrong(wrong: WrongRow) -> None:
    console.print()
    console.print(Text("wrong", style="bold red") + Text(f"  {key_text(wrong.key)}"))
    if wrong.expected is not None and wrong.found is not None:
        _show_pairs(["", "as its events say", "in the new table"], wrong.expected, wrong.found)
    elif wrong.expected is not None:
        console.print("  its events give this row, the new table has none")
        _show_columns(wrong.expected)
    else:
        console.print("  its events give no row, the new table has this one")
        _show_columns(wrong.found or {})


def _show_pairs(head: list[str], left: dict[str, Any], right: dict[str, Any]) -> None:
    rows = [[text_of(name), text_of(left[name]), text_of(right[name])] for name in left]
    _print_table(head, rows)


def _show_columns(row: dict[str, Any]) -> None:
    if row:
        _print_table(["", ""], [[text_of(name), text_of(value)] for name, value in row.items()])
