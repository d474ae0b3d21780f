"""Refold by a select: aside as INSERT … SELECT inside PostgreSQL, in place row by row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy import Select, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.key_order import Batch
from refold.engine.folding.pacing import Pace
from refold.engine.folding.partition import PartitionWork
from refold.engine.folding.refolded_rows import Target
from refold.engine.sql.culprit import inserting, key_at_fault
from refold.engine.sql.select_fold import SelectFold
from refold.engine.step import Step
from refold.messages.run.life import RefoldedSegment
from refold.projection.columns.sizes import size_of
from refold.runtime.database import compiled, own_transaction
from refold.runtime.telemetry import batch as measured
from refold.source.portions import BATCH_BYTES
from refold.source.sql.spans import Span, cuts, keys_of, rows_of
from refold.store import runs
from refold.store.partitions import Partition
from refold.store.tables.refused_row import refused_row

# Memory for one hash or sort of a statement.
_WORK_MEMORY = "SET LOCAL work_mem = '64MB'"
# How often a statement that is under way looks whether the run has been told something.
_LOOK_SECONDS = 0.25
# In place rows pass through this process, and readers wait for none of them.
_EVENTS_IN_PLACE = 10_000


class _Interrupted(Exception):
    """A statement was given up, as the run has been told something or the worker ends."""


class SelectWork(PartitionWork):
    """One attempt's work on one partition of a projection that is said in SQL.

    Args:
        writer: The connection that commits.
        partition: The partition as it was when this attempt took it over.
        target: Where the rows go.
        fold: The projection's select.
    """

    def __init__(
        self, writer: AsyncConnection, partition: Partition, target: Target, fold: SelectFold
    ) -> None:
        super().__init__(writer, partition, target)
        self._fold = fold

    async def segment(
        self,
        reader: AsyncConnection,
        pace: Pace,
        beat: Step,
        is_over: Callable[[], bool],
    ) -> RefoldedSegment:
        """Refolds the partition's next keys, until it is done or the segment is over.

        Args:
            reader: Another connection, not in a transaction.
            pace: How large batches are, and when they begin.
            beat: Shows how far it is.
            is_over: Whether the segment has worked for its time, or its worker ends.

        Raises:
            RowRejected: The select fails, or PostgreSQL refuses a row.
            Fenced: Another attempt has taken the partition over.
        """

        async def goes_on(batch: Batch, told: int) -> bool:
            beat.show(partition=self._partition.partition, events=self.events)
            more = not pace.is_told(told) and await pace.wait(self._writer, batch.events)
            return more and not is_over()

        work = self._in_place if self._target.plan.replaces_keys else self._aside
        try:
            done = await work(reader, pace, beat, goes_on)
        except _Interrupted:
            done = False
        return self.result(done=done)

    @property
    def _span(self) -> Span:
        target = self._target
        return Span(
            target.position,
            low=self._done_key,
            high=self._partition.high,
            among=target.among,
            passed_over=target.passed_over,
        )

    @property
    def _left(self) -> int:
        return max(0, self._partition.total_events - self._partition.processed_events - self.events)

    # -- aside -------------------------------------------------------------------------------

    async def _aside(
        self,
        reader: AsyncConnection,
        pace: Pace,
        beat: Step,
        goes_on: Callable[[Batch, int], Awaitable[bool]],
    ) -> bool:
        pace.starts()
        while True:
            size = pace.batch_size
            async with reader.begin():
                found = await cuts(
                    reader, self._fold.projection, self._span, total=self._left, size=size
                )
            for high, events in found:
                batch = Batch(events=events, last_key=high)
                told = await self._insert(reader, pace, beat, batch)
                if high is None:
                    await pace.spend(self._writer, events)
                    return True
                if not await goes_on(batch, told):
                    return False
                if pace.batch_size != size:
                    break  # it adapts

    async def _insert(self, reader: AsyncConnection, pace: Pace, beat: Step, batch: Batch) -> int:
        """Commits a batch: the partition's checkpoint, and the rows that the select makes."""
        target, done = self._target, batch.last_key is None
        high = self._partition.high if done else batch.last_key
        span = Span(target.position, low=self._done_key, high=high, passed_over=target.passed_over)
        rows = rows_of(self._fold.projection, span)
        sql, arguments = compiled(inserting(target.rows.table, rows))
        try:
            with measured("refold", target.projection.name, events=batch.events):
                async with own_transaction(self._writer) as driver:
                    told = await self._advance(driver, batch, None, done=done)
                    await driver.execute(_WORK_MEMORY)
                    await self._unless_told(driver.execute(sql, *arguments), reader, pace, beat)
        except asyncpg.PostgresError as error:
            raise await self._blamed(error, span) from None
        self._batches += 1
        self.events += batch.events
        if batch.last_key is not None:
            self._done_key = self._finished = batch.last_key
        return told

    async def _unless_told(
        self, statement: Any, reader: AsyncConnection, pace: Pace, beat: Step
    ) -> None:
        """Waits for a statement that may take long; gives it up when there is something else."""
        running = asyncio.ensure_future(statement)
        try:
            while not (await asyncio.wait([running], timeout=_LOOK_SECONDS))[0]:
                told = await runs.revision(reader, self._target.plan.run_id)
                if pace.is_told(told) or beat.is_stopping():
                    raise _Interrupted
            await running
        finally:
            if not running.done():
                running.cancel()
                with suppress(asyncio.CancelledError, asyncpg.PostgresError):
                    await running

    async def _blamed(self, error: asyncpg.PostgresError, span: Span) -> Exception:
        why = refused_row(error)
        if why is None:
            return error
        async with self._writer.begin():
            key, because = await key_at_fault(
                self._writer, self._fold.projection, span, into=self._target.rows.table
            )
        return self._fold.refused(key, because or why)

    # -- in place ----------------------------------------------------------------------------

    async def _in_place(
        self,
        reader: AsyncConnection,
        pace: Pace,
        beat: Step,
        goes_on: Callable[[Batch, int], Awaitable[bool]],
    ) -> bool:
        batch, size = Batch(), 0
        failed: Exception | None = None
        async with reader.begin():
            await reader.execute(text(_WORK_MEMORY))
            try:
                found = await reader.stream(
                    self._keys_with_rows(), execution_options={"yield_per": 100}
                )
                pace.starts()
                async for events, is_there, *values in found:
                    parts, row_values = values[: self._parts], values[self._parts :]
                    key = parts[0] if len(parts) == 1 else tuple(parts)
                    batch.events += events
                    batch.last_key = key
                    if is_there is None:
                        batch.gone.append(key)
                    else:
                        row = self._fold.row_of(row_values)
                        batch.rows.append(row)
                        size += size_of(row)
                    most = min(pace.batch_size, _EVENTS_IN_PLACE)
                    if batch.events >= most or size >= BATCH_BYTES:
                        told = await self.write(batch, done=False)
                        if not await goes_on(batch, told):
                            return False
                        batch, size = Batch(), 0
            except DBAPIError as error:
                failed = error
        if failed is not None:
            async with reader.begin():
                raise await self._fold.failed(reader, failed, self._span) from None
        await self.write(batch, done=True)
        await pace.spend(self._writer, batch.events)
        return True

    @property
    def _parts(self) -> int:
        return len(self._target.projection.key_columns)

    def _keys_with_rows(self) -> Select[Any]:
        """Each key in order: how many events it has, its row if it has one."""
        fold, span = self._fold, self._span
        keys = keys_of(fold.projection, span).subquery("keys")
        rows = fold.typed(rows_of(fold.projection, span)).subquery("found")
        named = list(keys.c)[:-1]
        pairs = zip(fold.table.primary_key.columns, named, strict=True)
        both = keys.outerjoin(rows, _all([rows.c[c.name] == key for c, key in pairs]))
        first = rows.c[next(iter(fold.table.primary_key.columns)).name]
        return select(keys.c.events, first, *named, *rows.c).select_from(both).order_by(*named)


def _all(conditions: list[Any]) -> Any:
    joined = conditions[0]
    for condition in conditions[1:]:
        joined &= condition
    return joined
