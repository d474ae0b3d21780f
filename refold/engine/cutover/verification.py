"""Verification: what a swap would change, and whether the new table is what its events say."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.poison_events import passed_over
from refold.engine.live.late_events import uncertain_keys
from refold.engine.sql.select_fold import SelectOracle, in_sql
from refold.messages.run.diff import Diff, WrongRow
from refold.messages.run.diff_values import plain, short_row, short_rows, some_names, within
from refold.messages.run.preview import DiffSample
from refold.projection.dead_letters import HeldKeys
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.source.oracle import Oracle
from refold.source.samples import sample_logged_keys
from refold.store import dead_letters
from refold.store.generations import Generation
from refold.store.side_keys.tables import SideTable
from refold.store.tables.comparable import Place
from refold.store.tables.comparison import Comparison, compare
from refold.store.tables.read_models import count_rows, exists, physical
from refold.store.tables.rows import RowStore
from refold.store.tables.samples import sample_keys

# Drawn from the new table, and as many again from the log.
SAMPLED_KEYS = 50

# Columns listed, wrong rows shown, and what the rows shown take of the diff, in bytes.
_COLUMNS = 50
_WRONG = 5
_SAMPLES_SIZE = 30_000
_WRONG_SIZE = 10_000


async def verify(
    connection: AsyncConnection,
    projection: Projection,
    *,
    shadow: Generation,
    live: Generation | None,
    live_table_schema: str,
    position: int,
    keys: list[Key] | None = None,
    side: SideTable | None = None,
) -> Diff:
    """Compares a new generation with the live one, and folds some of its keys again.

    Reads both tables once or a few times, and the log up to three times where no index leads to
    the events of a key; it changes nothing but the transaction's ``work_mem``.

    Args:
        connection: In a REPEATABLE READ transaction in which both generations stand at `position`.
        projection: The version that built the new generation.
        shadow: The new generation, loaded and indexed.
        live: What readers query; None for a table that Refold does not know, or none at all.
        live_table_schema: Where the table that readers query is, or would be, if `live` is None.
        position: The new generation's checkpoint.
        keys: Fold these keys again; None for some of both tables and log.
        side: Where the keys of a function are; None when nobody has written them down.

    Raises:
        PoisonEvent: An event that a handler or the key cannot take.
        UnreadableEvent: An event whose JSON cannot be read.
    """
    new = Place(shadow.schema_name, shadow.table_name)
    old = Place(live_table_schema, projection.table.name)
    if live is not None:
        old = Place(live.schema_name, live.table_name)
    notes: list[str | None] = []
    there = await exists(connection, *old)
    if there:
        comparison = await compare(connection, projection, live=old, shadow=new)
    else:
        rows = await count_rows(connection, *new)
        comparison = Comparison(0, rows, rows, 0, 0, note="No table was live before it.")
    notes.append(comparison.note)
    at: int | None = position
    if there and (live is None or live.position != position):
        at = None
        notes.append(_elsewhere(live, position))
    wanted = keys
    if wanted is None:
        rows = comparison.rows_shadow
        wanted = await sampled_keys(
            connection, projection, shadow, upto=position, rows=rows, side=side
        )
    held = await dead_letters.held_keys(connection, projection.name, shadow.generation)
    again = await check_keys(
        connection, projection, shadow, wanted, upto=position, held=held, side=side
    )
    notes.append(again.note)
    beyond = len(comparison.columns) - _COLUMNS
    notes.append(f"Rows differ in {beyond:,} columns more." if beyond > 0 else None)
    return Diff(
        projection=projection.name,
        live_generation=live.generation if live is not None else None,
        shadow_generation=shadow.generation,
        position=at,
        rows_live=comparison.rows_live,
        rows_shadow=comparison.rows_shadow,
        added=comparison.added,
        removed=comparison.removed,
        changed=comparison.changed,
        unchanged=comparison.unchanged,
        columns=comparison.columns[:_COLUMNS],
        columns_added=some_names(comparison.columns_added),
        columns_dropped=some_names(comparison.columns_dropped),
        columns_retyped=some_names(comparison.columns_retyped),
        samples=within(_mixed(comparison.samples), _SAMPLES_SIZE),
        folded_again=again.folded,
        folded_wrong=again.wrong.total(),
        wrong=within([row for _, row in again.shown], _WRONG_SIZE),
        compared_at=await _now(connection),
        note=" ".join(filter(None, notes)) or None,
    )


def _elsewhere(live: Generation | None, position: int) -> str:
    where = "is not known"
    if live is not None and live.position is not None:
        where = f"is {live.position:,}"
    return (
        f"The new table stands at position {position:,}; the live one's {where}: what events "
        "between the two did counts as a difference."
    )


def _mixed(samples: list[DiffSample]) -> list[DiffSample]:
    """One of each kind, then another: when there is room for some only, all kinds have some."""
    seen = {"added": 0, "removed": 0, "changed": 0}
    ranked = []
    for sample in samples:
        ranked.append((seen[sample.kind], sample))
        seen[sample.kind] += 1
    return [sample for _, sample in sorted(ranked, key=lambda pair: pair[0])]


async def _now(connection: AsyncConnection) -> datetime:
    now: datetime | None = await connection.scalar(select(func.now()))
    assert now is not None
    return now


# -- the engine itself -----------------------------------------------------------------------


Kind = Literal["added", "removed", "changed"]


@dataclass
class Checked:
    """What folding some keys again found.

    Attributes:
        folded: How many were folded.
        wrong: How many of these have another row in the table, by what is to be done about it.
        shown: Some of them, for people.
        note: What was left out, and why; None when nothing was.
    """

    folded: int = 0
    wrong: Counter[Kind] = field(default_factory=Counter)
    shown: list[tuple[Kind, WrongRow]] = field(default_factory=list)
    note: str | None = None


async def sampled_keys(
    connection: AsyncConnection,
    projection: Projection,
    there: Generation,
    *,
    upto: int,
    rows: int,
    side: SideTable | None = None,
) -> list[Key]:
    """Keys drawn at random from a table, and from the log: a row that is missing is only there."""
    table = RowStore(physical(projection, there.schema_name)).table
    passed = await passed_over(connection, projection, there.generation, side=side)
    logged = await sample_logged_keys(
        connection, projection, upto=upto, count=SAMPLED_KEYS, passed_over=passed, side=side
    )
    stored = await sample_keys(connection, table, count=SAMPLED_KEYS, rows=rows)
    return [key for pair in _paired(stored, logged) for key in pair]


async def check_keys(
    connection: AsyncConnection,
    projection: Projection,
    there: Generation,
    keys: list[Key],
    *,
    upto: int,
    held: HeldKeys,
    side: SideTable | None = None,
) -> Checked:
    """Folds keys again and compares them with their rows in a table, but for those that are held.

    Keys of events that have appeared in a gap in the positions just now are left out, too.

    Raises:
        PoisonEvent: An event that a handler or the key cannot take.
        UnreadableEvent: An event whose JSON cannot be read.
    """
    store = RowStore(physical(projection, there.schema_name))
    passed = await passed_over(connection, projection, there.generation, side=side)
    select = in_sql(projection)
    oracle: Oracle | SelectOracle
    if select is not None:
        oracle = SelectOracle(select, connection, upto=upto, passed_over=passed, held=held)
    else:
        oracle = Oracle(connection, projection, upto=upto, passed_over=passed, held=held, side=side)
    checked = Checked()
    late = await uncertain_keys(connection, projection, there)
    async with aclosing(oracle.fold([key for key in keys if key not in late])) as folding:
        async for rows in folding:
            found = await store.read(connection, list(rows))
            checked.folded += len(rows)
            for key, expected in rows.items():
                there_is = found.get(key)
                if _alike(store, expected, there_is):
                    continue
                kind = _kind(expected, there_is)
                checked.wrong[kind] += 1
                if len(checked.shown) < _WRONG:
                    checked.shown.append((kind, _wrong_row(projection, key, expected, there_is)))
            # Rows may be large: those of the next keys come in the place of these, not beside them.
            rows.clear()
            found.clear()
    checked.note = oracle.note
    return checked


def _kind(expected: Row | None, found: Row | None) -> Kind:
    if found is None:
        return "added"
    return "removed" if expected is None else "changed"


def _paired(one: list[Key], other: list[Key]) -> list[list[Key]]:
    """Keys of both lists by turns: when only some can be folded, they are of both."""
    longest = max(len(one), len(other))
    return [[*one[i : i + 1], *other[i : i + 1]] for i in range(longest)]


def _alike(store: RowStore, expected: Row | None, found: Row | None) -> bool:
    # As JSON, NaN is NaN.
    return expected == found or bool(store.freeze(expected) == store.freeze(found))


def _wrong_row(
    projection: Projection, key: Key, expected: Row | None, found: Row | None
) -> WrongRow:
    fields = short_row(_plain_row(projection.rows.key_fields(key))) or {}
    if expected is None or found is None:
        sides = [
            None
            if row is None
            else short_row({n: v for n, v in _plain_row(row).items() if n not in fields})
            for row in (expected, found)
        ]
        return WrongRow(key=fields, expected=sides[0], found=sides[1])
    differ = [name for name in expected if expected[name] != found[name]]
    one, other = short_rows(
        {name: plain(expected[name]) for name in differ},
        {name: plain(found[name]) for name in differ},
    )
    return WrongRow(key=fields, expected=one, found=other)


def _plain_row(row: Row) -> Row:
    return {name: plain(value) for name, value in row.items()}
