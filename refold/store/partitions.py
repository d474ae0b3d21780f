"""Table `refold.partitions`: how far each slice of a run's keys has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from sqlalchemy import (
    ColumnElement,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import Fenced, RunEnded
from refold.projection.declaration import Projection
from refold.projection.key import Key, loaded_key, stored_key
from refold.runtime.database import compiled_names
from refold.store.runs import REVISION
from refold.store.schema import partitions, runs


@dataclass(frozen=True)
class Partition:
    """A slice of a run's keys, and its checkpoint.

    Attributes:
        run_id: Whose run.
        partition: Its number, from 0.
        low: Keys above this (exclusive); None for no bound.
        high: Keys up to this (inclusive); None for no bound.
        done_key: All keys up to this (inclusive) are done; None when none is.
        carry: The unfinished key as stored: key, position and row; None when there is none.
        total_events: Events that the run's plan found in it.
        processed_events: Events folded and committed.
        batches: Batches committed.
        fence: The token of the attempt that may go on.
        done: Whether all its keys are done.
    """

    run_id: str
    partition: int
    low: Key | None
    high: Key | None
    done_key: Key | None
    carry: dict[str, Any] | None
    total_events: int
    processed_events: int
    batches: int
    fence: int
    done: bool


_COLUMNS = tuple(partitions.c[name] for name in Partition.__dataclass_fields__)


def _loaded(projection: Projection, row: Any) -> Partition:
    values = dict(row._mapping)
    for name in ("low", "high", "done_key"):
        if values[name] is not None:
            values[name] = loaded_key(projection.table, values[name])
    return Partition(**values)


async def create(
    connection: AsyncConnection,
    run_id: str,
    bounds: list[tuple[Key | None, Key | None]],
    totals: list[int],
) -> None:
    """Adds a run's partitions."""
    rows = [
        {
            "run_id": run_id,
            "partition": number,
            "low": None if low is None else stored_key(low),
            "high": None if high is None else stored_key(high),
            "total_events": total,
        }
        for number, ((low, high), total) in enumerate(zip(bounds, totals, strict=True))
    ]
    await connection.execute(insert(partitions), rows)


def row_of(run_id: str, partition: int) -> ColumnElement[bool]:
    """The condition for one partition's row."""
    return (partitions.c.run_id == run_id) & (partitions.c.partition == partition)


async def take(
    connection: AsyncConnection, projection: Projection, run_id: str, partition: int
) -> Partition:
    """Takes a partition over: from now on only the returned fence may move it.

    Raises:
        RunEnded: The partition is gone: its run has ended.
    """
    statement = update(partitions).where(row_of(run_id, partition))
    statement_returning = statement.values(fence=partitions.c.fence + 1).returning(*_COLUMNS)
    row = (await connection.execute(statement_returning)).first()
    if row is None:
        raise RunEnded(f"partition {partition} of run {run_id} is gone: the run has ended")
    return _loaded(projection, row)


async def advance(driver: asyncpg.Connection[Any], values: Mapping[str, Any]) -> int:
    """Commits one batch's progress; must come first in the transaction that writes its rows.

    Args:
        driver: In the transaction of the batch.
        values: See `advance_values`.

    Returns:
        The revision of what the run has been told.

    Raises:
        Fenced: Another attempt has taken the partition over, or its run has ended.
    """
    sql, names = _ADVANCE_TEXT
    return revision_of(await driver.fetchrow(sql, *[values[name] for name in names]), values)


def advance_values(
    partition: Partition,
    *,
    batch: int,
    events: int,
    done_key: Key | None,
    carry: dict[str, Any] | None,
    done: bool,
    durable: bool,
) -> dict[str, Any]:
    """The parameters of `ADVANCE`, by name.

    Args:
        partition: As it was taken, for its fence.
        batch: How many batches were committed before this one; compared before the set.
        events: Events folded in this batch.
        done_key: The highest finished key so far.
        carry: The unfinished key; None when there is none.
        done: Whether the partition ends with this batch.
        durable: Whether the commit waits for the disk.
    """
    return {
        "of_run": partition.run_id,
        "of_partition": partition.partition,
        "under_fence": partition.fence,
        "after_batch": batch,
        "more_events": events,
        "new_done_key": None if done_key is None else _json(stored_key(done_key)),
        "new_carry": None if carry is None else _json(carry),
        "now_done": done,
        # When a crash of the server loses the last commits, it loses their checkpoints, too.
        "synchronous": "on" if durable else "off",
    }


def revision_of(moved: asyncpg.Record | None, values: Mapping[str, Any]) -> int:
    """The revision of what the run has been told, of what `ADVANCE` has given back.

    Raises:
        Fenced: It has given nothing back.
    """
    if moved is None:
        raise Fenced(
            f"partition {values['of_partition']} of run {values['of_run']}: expected batch "
            f"{values['after_batch']} under fence {values['under_fence']}; another attempt has "
            "taken over"
        )
    return int(moved["revision"])


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


ADVANCE = (
    update(partitions)
    .where(
        partitions.c.run_id == bindparam("of_run"),
        partitions.c.partition == bindparam("of_partition"),
        partitions.c.fence == bindparam("under_fence"),
        partitions.c.batches == bindparam("after_batch"),
    )
    .values(
        batches=partitions.c.batches + literal_column("1"),
        processed_events=partitions.c.processed_events + bindparam("more_events"),
        done_key=bindparam("new_done_key", type_=JSONB(none_as_null=True)),
        carry=bindparam("new_carry", type_=JSONB(none_as_null=True)),
        done=bindparam("now_done"),
    )
    .returning(
        func.set_config(
            literal_column("'synchronous_commit'"),
            bindparam("synchronous", type_=Text),
            literal_column("true"),
        ).label("synchronous"),
        select(REVISION)
        .where(runs.c.run_id == partitions.c.run_id)
        .scalar_subquery()
        .label("revision"),
    )
)
"""Moves a partition's checkpoint by a batch; `advance_values` has its parameters.

It also sets the transaction's synchronous_commit, and gives back what the run has been told, which
saves round trips. It gives nothing back when another attempt has taken the partition over.
"""

# Compiled once: it runs with every batch.
_ADVANCE_TEXT = compiled_names(ADVANCE)


@dataclass(frozen=True)
class PartitionCount:
    """A partition's counters, for progress."""

    partition: int
    processed_events: int
    total_events: int
    done: bool


async def counts(connection: AsyncConnection, run_id: str) -> list[PartitionCount]:
    """The counters of a run's partitions, in order."""
    columns = [partitions.c[name] for name in PartitionCount.__dataclass_fields__]
    statement = select(*columns).where(partitions.c.run_id == run_id)
    rows = await connection.execute(statement.order_by(partitions.c.partition))
    return [PartitionCount(*row) for row in rows]


async def remove(connection: AsyncConnection, run_id: str) -> None:
    """Removes a run's partitions; an attempt that still works on one is fenced by that."""
    await connection.execute(delete(partitions).where(partitions.c.run_id == run_id))
