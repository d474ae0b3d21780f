"""One attempt's work on one partition: batches committed, each with its checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding import poison_events
from refold.engine.folding.key_order import Batch, Carry
from refold.engine.folding.refolded_rows import RefoldedRows, Target
from refold.engine.folding.rows_before import rows_before
from refold.engine.keying.tail import Tail
from refold.messages.run.life import RefoldedSegment
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Row
from refold.projection.key import Key, loaded_key, stored_key
from refold.projection.narrowed.sent_event import WHOLE, Sent
from refold.runtime.database import own_transaction, raw
from refold.runtime.telemetry import batch as measured
from refold.source.keyed import side_keys
from refold.source.port.elsewhere import key_collation
from refold.source.reader import in_key_order
from refold.source.selection import having_events, without_events
from refold.store import dead_letters, generations, partitions
from refold.store.gaps import late_events
from refold.store.partitions import Partition
from refold.store.tables.many.with_checkpoint import RowsWithCheckpoint
from refold.store.tables.refused_row import refused_row


class PartitionWork:
    """One attempt's work on one partition.

    Args:
        writer: The connection that commits.
        partition: The partition as it was when this attempt took it over.
        target: Where the rows go.

    Attributes:
        events: How many events this attempt has folded and committed.
    """

    def __init__(self, writer: AsyncConnection, partition: Partition, target: Target) -> None:
        self._writer = writer
        self._partition = partition
        self._target = target
        self._high = partition.high if target.upto_key is None else target.upto_key
        self._done_key = partition.done_key if partition.done_key is not None else partition.low
        self._finished = partition.done_key
        self._batches = partition.batches
        self._strays: list[Key] = []
        self.events = 0

    def result(self, *, done: bool) -> RefoldedSegment:
        """What this attempt did."""
        return RefoldedSegment(
            done=done, events=self.events, batches=self._batches - self._partition.batches
        )

    async def remaining(self, sent: Sent = WHOLE) -> tuple[Any, Carry | None]:
        """The statement for the events that are left, and the unfinished key to go on with.

        Args:
            sent: What is sent of each event.
        """
        projection, stored = self._target.projection, self._partition.carry
        carry = None
        if stored is not None:
            row = self._target.rows.thaw(stored["row"])
            key = loaded_key(projection.table, stored["key"])
            held = stored.get("held")
            carry = Carry(key, stored["position"], row, Letter(**held) if held else None)
        statement = in_key_order(
            projection,
            upto=self._target.position,
            low=self._done_key,
            high=self._high,
            resume=None if carry is None else (carry.key, carry.position),
            among=self._target.among,
            passed_over=self._target.passed_over,
            side=self._target.side,
            sent=sent,
        )
        return statement, carry

    async def find_strays(self) -> None:
        """Finds rows of selected keys that have no event up to the checkpoint: no batch has them.

        Such a key was selected by an event after the checkpoint. Its row is removed together with
        the keys around it, before the follower can go on with it. It stays if the event has been
        followed by then.
        """
        target, partition = self._target, self._partition
        if target.plan.selection is None or target.plan.selection.to_position <= target.position:
            return
        assert target.among is not None
        low, high, upto = self._done_key, partition.high, target.position
        if isinstance(target.among, list):
            there = await having_events(self._writer, target.projection, target.among, upto=upto)
            others = [key for key in target.among if key not in there]
            async with self._writer.begin():
                self._strays = list(await target.rows.having_row(self._writer, others))
            return
        if target.side is None:
            without = without_events(target.projection, target.among, low=low, high=high, upto=upto)
        else:
            without = side_keys.without_events(
                target.side, target.among, low=low, high=high, upto=upto
            )
        async with self._writer.begin():
            self._strays = await target.rows.find(self._writer, without)

    @property
    def is_last(self) -> bool:
        """Whether no keys come after those of `remaining`."""
        return self._target.upto_key is None

    async def finish(self, last: Batch) -> None:
        """Commits the last batch of `remaining`; raises as `write` does."""
        if not self.is_last:  # also of keys that have no event
            last.last_key = self._high
        await self.write(last, done=self.is_last)

    async def write(self, batch: Batch, *, done: bool) -> int:
        """Commits a batch: first the partition's checkpoint, then its rows.

        Returns:
            The revision of what the run has been told.

        Raises:
            Fenced: Another attempt has taken over; nothing is written.
        """
        with measured("refold", self._target.projection.name, events=batch.events):
            if self._target.plan.replaces_keys:
                told = await self._write_in_place(batch, done=done)
            else:
                told = await self._write_aside(batch, done=done)
        self._batches += 1
        self.events += batch.events
        if batch.last_key is not None:
            self._done_key = self._finished = batch.last_key
        return told

    async def _write_aside(self, batch: Batch, *, done: bool) -> int:
        carry = self._stored(batch.carry)
        try:
            if not (done or batch.letters):
                told_at_once = await self._write_at_once(batch, carry)
                if told_at_once is not None:
                    return told_at_once
            async with own_transaction(self._writer) as driver:
                told = await self._advance(driver, batch, carry, done=done)
                await self._target.rows.load(driver, batch.rows)
                await self._set_aside(driver, batch.letters)
        except asyncpg.PostgresError as error:
            if refused_row(error) is None:
                raise
            return await self._write_what_is_taken(batch, carry, done=done)
        return told

    @cached_property
    def _at_once(self) -> RowsWithCheckpoint | None:
        return self._target.rows.with_checkpoint()

    async def _write_at_once(self, batch: Batch, carry: dict[str, Any] | None) -> int | None:
        """Commits a batch by one statement; None where it takes more, and nothing is done."""
        if self._at_once is None:
            return None
        driver = await raw(self._writer)
        values = self._checkpoint(batch, carry, done=False)
        return await self._at_once.add(driver, batch.rows, values)

    async def _write_what_is_taken(
        self, batch: Batch, carry: dict[str, Any] | None, *, done: bool
    ) -> int:
        """Commits a batch with rows that PostgreSQL refuses: the others, and letters for these."""
        target = self._target
        async with self._writer.begin():
            await self._writer.execute(text("SELECT"))  # the driver's transaction begins
            driver = await raw(self._writer)
            told = await self._advance(driver, batch, carry, done=done)
            refolded = RefoldedRows(self._writer, target, target.position, bare=True)
            rows: dict[Key, Row | None] = {self._key_of(row): row for row in batch.rows}
            letters = await refolded.put(rows, batch.letters)
            await self._set_aside(driver, letters)
        return told

    async def _write_in_place(self, batch: Batch, *, done: bool) -> int:
        carry = self._stored(batch.carry)
        plan, name = self._target.plan, self._target.projection.name
        async with self._writer.begin():
            # The checkpoint is held, so that the follower can neither overtake nor be undone.
            status = generations.BUILDING if plan.atomic else generations.ACTIVE
            if self._target.patient:
                # What it has read may be from before somebody has put late events right.
                await generations.get(self._writer, name, plan.generation, lock=True)
                await late_events.put_right_again(
                    self._writer, name, plan.generation, self._target.late_to
                )
            position = await generations.hold_position(
                self._writer, name, plan.generation, status=status
            )
            told = await self._advance(await raw(self._writer), batch, carry, done=done)
            if batch.last_key is not None or done:
                upto_key = self._partition.high if done else batch.last_key
                await self._replace(batch, upto_key, position)
        return told

    async def _advance(
        self,
        driver: asyncpg.Connection[Any],
        batch: Batch,
        carry: dict[str, Any] | None,
        *,
        done: bool,
    ) -> int:
        return await partitions.advance(driver, self._checkpoint(batch, carry, done=done))

    def _checkpoint(
        self, batch: Batch, carry: dict[str, Any] | None, *, done: bool
    ) -> dict[str, Any]:
        return partitions.advance_values(
            self._partition,
            batch=self._batches,
            events=batch.events,
            done_key=batch.last_key if batch.last_key is not None else self._finished,
            carry=carry,
            done=done,
            # The last commit takes all before it to the disk: from here on Temporal believes it.
            durable=done or not self._target.plan.atomic,
        )

    def _stored(self, carry: Carry | None) -> dict[str, Any] | None:
        if carry is None:
            return None
        row = self._target.rows.freeze(carry.row)
        stored = {"key": stored_key(carry.key), "position": carry.position, "row": row}
        # What holds the key is written with its row, when it is finished.
        return stored if carry.held is None else {**stored, "held": asdict(carry.held)}

    async def _set_aside(
        self, driver: asyncpg.Connection[Any], letters: list[Letter], *, replaced: int = 0
    ) -> None:
        plan = self._target.plan
        await dead_letters.add(
            driver,
            plan.projection,
            plan.generation,
            letters,
            most=poison_events.most_letters(plan.poison),
            run_id=plan.run_id,
            replaced=replaced,
        )

    async def _replace(self, batch: Batch, upto_key: Key | None, position: int) -> None:
        """Puts the keys up to `upto_key` right in a table that has rows, as of its checkpoint."""
        rows, plan, projection = self._target.rows, self._target.plan, self._target.projection
        before = None
        if not plan.atomic:
            before = await rows_before(self._writer, projection, plan.generation, rows)
        if before is not None:
            await before.note_letters()
        repaired = self._target.among_within(self._done_key, upto_key)
        released = await poison_events.release(
            *(self._writer, projection, plan, self._done_key, upto_key),
            among=repaired if isinstance(repaired, list) else None,
            side=self._target.side,
        )
        letters = list(batch.letters)
        folded: dict[Key, Row | None] = dict.fromkeys(batch.gone)
        folded.update({self._key_of(row): row for row in batch.rows})
        if position > self._target.position:
            tail = Tail(self._writer, self._target, low=self._done_key, high=upto_key)
            letters += await tail.fold(folded, letters, position)
        there = {key: row for key, row in folded.items() if row is not None}
        # Rows of keys that no event names are strays, too.
        among = None if self._target.among is None else self._strays
        if among is None or among:
            deleted = await rows.delete_others(
                *(self._writer, self._done_key, upto_key, list(there)),
                among=among,
                returning=before is not None,
                collation=key_collation(),
            )
            if before is not None:
                before.note_deleted(deleted)
        refolded = RefoldedRows(self._writer, self._target, position, before=before)
        letters = await refolded.put(folded, letters)
        await self._set_aside(await raw(self._writer), letters, replaced=released)
        if before is not None:
            await before.keep(position)

    def _key_of(self, row: Row) -> Key:
        columns = self._target.projection.key_columns
        return row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns)
