"""Compares a new table with the live one: what was added, removed and changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.run.diff import ColumnDiff
from refold.messages.run.diff_values import plain, short_row, short_rows
from refold.messages.run.preview import DiffSample
from refold.projection.declaration import Projection
from refold.store.tables.comparable import Place, Shared, TableColumn, columns_of
from refold.store.tables.read_models import count_rows, quoted

SAMPLES = 5
"""So many samples of each kind."""

# For the hash of each of the two tables, with rows of full width; what needs more spills to disk.
_WORK_MEMORY = "64MB"

# So many characters of a value are read to find where two values differ.
_READ = 4000


@dataclass(frozen=True)
class Comparison:
    """How two tables differ; the fields are those of `refold.messages.run.diff.Diff`."""

    rows_live: int
    rows_shadow: int
    added: int
    removed: int
    changed: int
    columns: list[ColumnDiff] = field(default_factory=list)
    columns_added: list[str] = field(default_factory=list)
    columns_dropped: list[str] = field(default_factory=list)
    columns_retyped: list[str] = field(default_factory=list)
    samples: list[DiffSample] = field(default_factory=list)
    note: str | None = None

    @property
    def unchanged(self) -> int:
        """Rows on both sides that differ in no column."""
        return self.rows_live - self.removed - self.changed


async def compare(
    connection: AsyncConnection, projection: Projection, *, live: Place, shadow: Place
) -> Comparison:
    """Compares the new table with the live one, row by row, by the projection's key.

    The live table may have other columns than the projection declares: only those that both have
    are compared. Where it has another primary key, no row can be matched: all rows of the live
    table count as removed, and all of the new one as added. The time is that of reading both
    tables once, and once or twice more for samples when some rows differ.

    Args:
        connection: In a transaction that sees both tables in one snapshot: REPEATABLE READ. Its
            ``work_mem`` is set, until it ends.
        projection: Whose key.
        live: The table that readers query.
        shadow: The new table, with its primary key.
    """
    live_columns = await columns_of(connection, live)
    shadow_columns = await columns_of(connection, shadow)
    shared = _shared(live_columns, shadow_columns)
    names = {column.live.name for column in shared}
    changes: dict[str, Any] = {
        "columns_added": [c.name for c in shadow_columns if c.name not in names],
        "columns_dropped": [c.name for c in live_columns if c.name not in names],
        "columns_retyped": [c.retyped for c in shared if c.retyped is not None],
    }
    live_key = [column.name for column in live_columns if column.in_key]
    if {*live_key} != {*projection.key_columns}:
        rows_live = await count_rows(connection, *live)
        rows_shadow = await count_rows(connection, *shadow)
        note = _unmatched(live_key, projection.key_columns)
        return Comparison(rows_live, rows_shadow, rows_shadow, rows_live, 0, note=note, **changes)
    await connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEMORY}'"))
    statements = _Statements(projection.key_columns, live, shadow, shared)
    counted = (await connection.exec_driver_sql(statements.counts())).one()
    added, removed, both, changed, *differing = tuple(counted)
    columns = [
        ColumnDiff(column=column.name, rows=rows)
        for column, rows in zip(statements.others, differing, strict=True)
        if rows
    ]
    samples: list[DiffSample] = []
    if changed:
        samples += await _changed_samples(connection, statements)
    if removed:
        samples += await _removed_samples(connection, statements, live_columns)
    if added:
        samples += await _added_samples(connection, statements, shadow_columns)
    return Comparison(
        rows_live=both + removed,
        rows_shadow=both + added,
        added=added,
        removed=removed,
        changed=changed,
        columns=sorted(columns, key=lambda column: -column.rows),
        samples=samples,
        **changes,
    )


def _shared(live: Sequence[TableColumn], shadow: Sequence[TableColumn]) -> list[Shared]:
    by_name = {column.name: column for column in live}
    return [Shared(by_name[column.name], column) for column in shadow if column.name in by_name]


def _unmatched(live_key: Sequence[str], shadow_key: Sequence[str]) -> str:
    return (
        f"The rows cannot be matched: the live table's primary key is "
        f"({', '.join(live_key) or 'none'}), the new one's ({', '.join(shadow_key)}). "
        f"All of them count as removed, and as added."
    )


class _Statements:
    """The SQL for two tables, aliased l (live) and s (shadow)."""

    def __init__(
        self, key: Sequence[str], live: Place, shadow: Place, shared: Sequence[Shared]
    ) -> None:
        by_name = {column.name: column for column in shared}
        self.key = [by_name[name] for name in key]
        self.others = [column for column in shared if column.name not in key]
        self.live = f"{quoted(*live)} l"
        self.shadow = f"{quoted(*shadow)} s"
        self.match = " AND ".join(f"{left} = {right}" for left, right in map(_sides, self.key))
        self.differ = [
            f"{left} IS DISTINCT FROM {right}" for left, right in map(_sides, self.others)
        ]

    def counts(self) -> str:
        """Rows added, removed, on both sides, changed; and for each column how many differ."""
        first = quoted(self.key[0].name)
        differ = "".join(f", ({d}) AS d{i}" for i, d in enumerate(self.differ))
        flags = [f"d{i}" for i in range(len(self.differ))]
        counts = "".join(f", count(*) FILTER (WHERE kind = 0 AND {flag})" for flag in flags)
        # OFFSET 0 keeps the planner from computing each comparison twice: for its column, and for
        # the row.
        return (
            f"SELECT count(*) FILTER (WHERE kind = 1), count(*) FILTER (WHERE kind = -1), "
            f"count(*) FILTER (WHERE kind = 0), "
            f"count(*) FILTER (WHERE kind = 0 AND ({' OR '.join(flags) or 'false'})){counts} "
            f"FROM (SELECT CASE WHEN l.{first} IS NULL THEN 1 WHEN s.{first} IS NULL THEN -1 "
            f"ELSE 0 END AS kind{differ} "
            f"FROM {self.live} FULL JOIN {self.shadow} ON {self.match} OFFSET 0) c"
        )

    def changed(self) -> str:
        """Some changed rows: key, whether each column differs, the live values, the new ones."""
        live = _texts("l", [column.live for column in self.others])
        shadow = _texts("s", [column.shadow for column in self.others])
        key = _texts("s", [column.shadow for column in self.key])
        return (
            f"SELECT {key}, ARRAY[{', '.join(self.differ)}], {live}, {shadow} "
            f"FROM {self.live} JOIN {self.shadow} ON {self.match} "
            f"WHERE {' OR '.join(self.differ)} LIMIT {SAMPLES}"
        )

    def only(self, alias: str, columns: Sequence[TableColumn]) -> str:
        """The values of some rows that only one side has."""
        here, there = (self.live, self.shadow) if alias == "l" else (self.shadow, self.live)
        return (
            f"SELECT {_texts(alias, columns)} FROM {here} "
            f"WHERE NOT EXISTS (SELECT FROM {there} WHERE {self.match}) LIMIT {SAMPLES}"
        )


def _sides(column: Shared) -> tuple[str, str]:
    return column.sides("l", "s")


def _texts(alias: str, columns: Sequence[TableColumn]) -> str:
    """The beginnings of values, as one array of text: a function takes 100 arguments at most."""
    return f"ARRAY[{', '.join(_text(alias, column) for column in columns)}]::text[]"


def _text(alias: str, column: TableColumn) -> str:
    name = f"{alias}.{quoted(column.name)}"
    if column.builtin == "bytea":
        return f"substring({name} for {_READ // 2})::text"
    return f"left({name}::text, {_READ})"


# -- samples ---------------------------------------------------------------------------------


async def _changed_samples(
    connection: AsyncConnection, statements: _Statements
) -> list[DiffSample]:
    samples = []
    for found in await connection.exec_driver_sql(statements.changed()):
        key, differ, live, shadow = tuple(found)
        pairs = [
            (column, before, after)
            for column, differs, before, after in zip(
                statements.others, differ, live, shadow, strict=True
            )
            if differs
        ]
        live_row, shadow_row = short_rows(
            {column.name: _value(column.live, before) for column, before, _ in pairs},
            {column.name: _value(column.shadow, after) for column, _, after in pairs},
        )
        fields = short_row(_row([column.shadow for column in statements.key], key)) or {}
        samples.append(DiffSample(kind="changed", key=fields, live=live_row, shadow=shadow_row))
    return samples


async def _removed_samples(
    connection: AsyncConnection, statements: _Statements, columns: Sequence[TableColumn]
) -> list[DiffSample]:
    rows = await connection.exec_driver_sql(statements.only("l", columns))
    made = [_key_and_row(statements, _row(columns, values)) for (values,) in rows]
    return [DiffSample(kind="removed", key=key, live=row, shadow=None) for key, row in made]


async def _added_samples(
    connection: AsyncConnection, statements: _Statements, columns: Sequence[TableColumn]
) -> list[DiffSample]:
    rows = await connection.exec_driver_sql(statements.only("s", columns))
    made = [_key_and_row(statements, _row(columns, values)) for (values,) in rows]
    return [DiffSample(kind="added", key=key, live=None, shadow=row) for key, row in made]


def _key_and_row(
    statements: _Statements, row: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    key = short_row({column.name: row.pop(column.name) for column in statements.key})
    return key or {}, short_row(row) or {}


def _row(columns: Sequence[TableColumn], values: Sequence[str | None]) -> dict[str, Any]:
    return {
        column.name: _value(column, value) for column, value in zip(columns, values, strict=True)
    }


def _value(column: TableColumn, value: str | None) -> Any:
    """The value for JSON that PostgreSQL's text stands for."""
    if value is None:
        return None
    if column.builtin in ("int2", "int4", "int8"):
        return plain(int(value))
    return value == "true" if column.builtin == "bool" else value
