"""What a rebuild will change: the new table against the live one, at the same position."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import computed_field, model_validator

from refold.messages.base import Message
from refold.messages.markdown import escaped, table
from refold.messages.run.diff_values import text_of
from refold.messages.run.preview import DiffSample

_COMPUTED = frozenset({"changed_percent", "is_same"})


class ColumnDiff(Message):
    """How many of the rows that are on both sides differ in a column."""

    column: str
    rows: int


class WrongRow(Message):
    """A row of the new table that is not what its events say.

    Attributes:
        key: The key columns.
        expected: The columns that differ, as the events fold; None when there is to be no row.
        found: The same columns in the new table; None when it has no such row.
    """

    key: dict[str, Any]
    expected: dict[str, Any] | None
    found: dict[str, Any] | None


class Diff(Message):
    """The answer to the query `diff`; well below 100 kB, however large the rows are.

    Rows are matched by key and compared in the columns that both tables have. Values that differ
    only in how they are written (1.5 and 1.50, the order of JSON fields) are the same.

    Attributes:
        projection: The projection.
        live_generation: The generation that readers query; None for none, or one not known.
        shadow_generation: The generation that is to take its place.
        position: Where both sides stand; None when it is not the same, or not known of the live
            one: see the note.
        rows_live: Rows of the live table; 0 when there is none.
        rows_shadow: Rows of the new table.
        added: Rows that only the new table has.
        removed: Rows that only the live table has.
        changed: Rows on both sides that differ in some column.
        unchanged: Rows on both sides that differ in none.
        columns: The columns in which rows differ, those of most rows first.
        columns_added: Columns that only the new table has.
        columns_dropped: Columns that only the live table has.
        columns_retyped: Columns of another type, such as ``total: integer → numeric(14,2)``.
        samples: Some rows of each kind.
        folded_again: Keys of which the events were folded once more, in plain Python.
        folded_wrong: How many of these have another row in the new table, or wrongly none or one.
        wrong: Some of these.
        compared_at: When.
        note: What one has to know to read the numbers rightly; None when they speak for themselves.
    """

    projection: str
    live_generation: int | None
    shadow_generation: int
    position: int | None
    rows_live: int
    rows_shadow: int
    added: int
    removed: int
    changed: int
    unchanged: int
    columns: list[ColumnDiff]
    columns_added: list[str]
    columns_dropped: list[str]
    columns_retyped: list[str]
    samples: list[DiffSample]
    folded_again: int
    folded_wrong: int
    wrong: list[WrongRow]
    compared_at: datetime
    note: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, fields: Any) -> Any:
        # They are in the JSON for its readers; unknown fields are refused.
        if isinstance(fields, dict):
            return {name: value for name, value in fields.items() if name not in _COMPUTED}
        return fields

    @computed_field  # type: ignore[prop-decorator]
    @property
    def changed_percent(self) -> float:
        """Rows added, removed and changed for each 100 rows of the live table.

        Above 100 when more rows are added than there were; 100 when the live table has none and the
        new one has some.
        """
        different = self.added + self.removed + self.changed
        if not self.rows_live:
            return 100.0 if different else 0.0
        return 100 * different / self.rows_live

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_same(self) -> bool:
        """Whether readers will see the very same columns and rows."""
        return not (
            self.added
            or self.removed
            or self.changed
            or self.columns_added
            or self.columns_dropped
            or self.columns_retyped
        )


# -- as text ---------------------------------------------------------------------------------


def headline(diff: Diff) -> str:
    """The numbers in one sentence."""
    if not (diff.added or diff.removed or diff.changed):
        return f"no row differs, of {diff.rows_shadow:,}"
    counts = f"{diff.added:,} added, {diff.removed:,} removed, {diff.changed:,} changed"
    return f"{counts}, {diff.unchanged:,} unchanged ({percent_text(diff)} of the live rows)"


def percent_text(diff: Diff) -> str:
    """`Diff.changed_percent` for people: a share that is not 0 never reads 0."""
    percent = diff.changed_percent
    return "< 0.1 %" if 0 < percent < 0.1 else f"{percent:,.1f} %"


def sides(diff: Diff) -> str:
    """What is compared with what, in one sentence."""
    live = (
        "the live table" if diff.live_generation is None else f"generation {diff.live_generation}"
    )
    where = "" if diff.position is None else f", at position {diff.position:,}"
    return f"generation {diff.shadow_generation} against {live}{where}"


def oracle_text(diff: Diff) -> str:
    """What the second fold of some keys found, in one sentence."""
    if not diff.folded_again:
        return "no key folded again"
    keys = "1 key" if diff.folded_again == 1 else f"{diff.folded_again:,} keys"
    if not diff.folded_wrong:
        return f"{keys} folded again, all as in the new table"
    return f"{keys} folded again, {diff.folded_wrong:,} WRONG in the new table"


def schema_changes(diff: Diff) -> list[tuple[str, str]]:
    """The columns added, dropped and retyped, as pairs of what happens and to which."""
    listed = {
        "added": diff.columns_added,
        "dropped": diff.columns_dropped,
        "retyped": diff.columns_retyped,
    }
    return [(what, column) for what, columns in listed.items() for column in columns]


def key_text(key: dict[str, Any]) -> str:
    """A key in one line."""
    return ", ".join(f"{column} = {text_of(value)}" for column, value in key.items())


def row_text(row: dict[str, Any] | None) -> str:
    """Some columns of a row in one line."""
    if row is None:
        return "no row"
    return ", ".join(f"{column}: {text_of(value)}" for column, value in row.items())


def as_markdown(diff: Diff) -> str:
    """The diff as the Temporal UI shows it under a workflow's details."""
    lines = [f"### What {escaped(diff.projection)} will change", "", sides(diff), ""]
    counts = (diff.rows_live, diff.rows_shadow, diff.added, diff.removed, diff.changed)
    head = ["rows live", "rows new", "added", "removed", "changed", "of the live rows"]
    lines += table(head, [[*[f"{count:,}" for count in counts], escaped(percent_text(diff))]])
    lines += ["", oracle_text(diff)]
    if diff.note:
        lines += ["", escaped(diff.note)]
    if diff.columns:
        rows = [[escaped(text_of(c.column)), f"{c.rows:,}"] for c in diff.columns]
        lines += ["", *table(["column", "rows that differ"], rows)]
    if changes := schema_changes(diff):
        lines += ["", *table(["column is", ""], [[w, escaped(text_of(c))] for w, c in changes])]
    if diff.samples:
        samples = [
            [s.kind, *map(escaped, (key_text(s.key), row_text(s.live), row_text(s.shadow)))]
            for s in diff.samples
        ]
        lines += ["", *table(["row", "key", "live", "new"], samples)]
    if diff.wrong:
        wrong = [
            [*map(escaped, (key_text(w.key), row_text(w.expected), row_text(w.found)))]
            for w in diff.wrong
        ]
        lines += ["", *table(["wrong", "as its events say", "in the new table"], wrong)]
    return "\n".join(lines)
