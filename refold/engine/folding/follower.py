"""Moving one generation forward: a batch of events applied in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import Select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.applying import Applied, Keyed
from refold.engine.folding.keys_at_once.following import applying_of
from refold.engine.folding.moments import Moments, take_moments
from refold.engine.folding.poison_events import most_letters
from refold.engine.folding.refused_rows import Tracing
from refold.engine.folding.row_bounds import fitting
from refold.engine.sql.following import SelectFollowing
from refold.engine.sql.select_fold import in_sql
from refold.errors import RunEnded
from refold.event import Event
from refold.messages.run.plan import Plan
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.requests.poison_policy import Poison
from refold.runtime.database import raw
from refold.runtime.threads import PIECE_SECONDS, Hand, in_thread
from refold.source.batches.batch_reader import BatchReader
from refold.source.portions import after_gap
from refold.source.reader import in_position_order, read_at
from refold.store import dead_letters, generations, runs
from refold.store.generations import ACTIVE, BUILDING, RETAINED, Generation
from refold.store.tables.changes import Change, Changes
from refold.store.tables.read_models import physical
from refold.store.tables.refused_row import is_same_row, refused_row
from refold.store.tables.rows import RowStore

if TYPE_CHECKING:
    from refold.engine.strides.stride import Strides

# One statement looks at this many positions a wanted event, so that a rare type does not scan the
# whole log at once.
WINDOW_PER_EVENT = 50


@dataclass
class Follower:
    """Moves one generation forward, under one fence.

    Attributes:
        projection: Whose handlers apply.
        generation: The generation, as it was when the fence was taken.
        fence: The token under which its checkpoint may be moved.
        rows: Its rows.
        position: Its checkpoint.
        batch_size: Events in one transaction.
        poison: What is done with poison events.
        run_id: The run that follows; None for the live projection.
        skipped: Positions of events that are passed over.
        moments: Which moments are kept as snapshots.
        reader: How many events it reads at a time.
        strides: What applies many batches' events in one transaction where it is far behind; None
            where it must not.
    """

    projection: Projection
    generation: Generation
    fence: int
    rows: RowStore
    position: int
    batch_size: int
    poison: Poison
    run_id: str | None
    skipped: Sequence[int]
    moments: Moments
    reader: BatchReader = field(default_factory=BatchReader)
    strides: Strides | None = None
    _events: Select[Any] | None = None
    _careful: bool = False
    _at_most: int | None = None

    async def commit_batch(self, connection: AsyncConnection, upto: int) -> tuple[int, int]:
        """Applies the next events in a transaction of its own.

        As a rule PostgreSQL takes all rows, and they are written without a savepoint. From the
        first row on that it refuses, they are written with the care of `apply_batch`.

        Args:
            connection: Not in a transaction.
            upto: A settled position (inclusive).

        Returns:
            How many events were applied, and the revision of what the run has been told: 0 for the
            live projection.

        Raises:
            Fenced: Somebody else has moved the checkpoint.
            PoisonEvent: An event that a handler cannot take.
            TargetBehind: A row refers to one of a read model that has not come as far.
        """
        if self.strides is not None and not self._careful:
            events = await self.strides.take(connection, upto)
            if events is not None:
                return events, 0
        before = self.position
        try:
            return await self._commit(connection, upto, careful=self._careful)
        except (DBAPIError, asyncpg.PostgresError) as error:
            self.position = before  # what is deferred is refused by the commit
            if self._careful or (refused_row(error) is None and not is_same_row(error)):
                raise
            self._careful = True
        return await self._commit(connection, upto, careful=True)

    async def _commit(
        self, connection: AsyncConnection, upto: int, *, careful: bool
    ) -> tuple[int, int]:
        async with connection.begin():
            if self.generation.status == BUILDING:
                await connection.execute(text("SET LOCAL synchronous_commit = off"))
            events = await self._apply(connection, upto, careful=careful)
            told = 0
            if self.run_id is not None:
                told = await runs.add_followed(connection, self.run_id, events)
        self.moments.settle()
        return events, told

    async def apply_batch(self, connection: AsyncConnection, upto: int) -> int:
        """Applies the next events in the caller's transaction, the checkpoint first.

        No more than a batch may have, in number and in bytes, and in the time that it takes; and
        none after one with which a snapshot is due.

        Args:
            connection: In a transaction.
            upto: A settled position (inclusive).

        Returns:
            How many events were applied. `position` is right only once the transaction commits.

        Raises:
            Fenced: Somebody else has moved the checkpoint.
            PoisonEvent: An event that a handler cannot take.
            TargetBehind: A row refers to one of a read model that has not come as far.
        """
        events = await self._apply(connection, upto, careful=True)
        self.moments.settle()
        return events

    async def _apply(self, connection: AsyncConnection, upto: int, *, careful: bool) -> int:
        fold = in_sql(self.projection)
        if fold is not None:
            return await SelectFollowing(self, fold, connection).apply(upto, careful=careful)
        old = self.position
        self.moments.begin()
        window = min(upto, old + self.batch_size * WINDOW_PER_EVENT)
        if self._events is None:
            self._events = in_position_order(
                types=self.moments.types,
                since=self.projection.start_from,
                passed_over=self.skipped,
            )
        limit = self.moments.limit(min(self.batch_size, self._at_most or self.batch_size))
        read = await self.reader.read(connection, self._events, after=old, limit=limit, upto=window)
        hand = Hand(self.projection.name, self._piece_seconds)
        applying = applying_of(self.projection)(self.projection, self.poison, self.moments)
        keyed = Keyed()
        if read.texts:
            keyed = await in_thread(applying.keyed, read.texts, hand, hand=hand)
            fit = await fitting(connection, self.rows, keyed.keys)
            del keyed.events[fit:], keyed.keys[fit:]
        new = window if read.texts else await after_gap(connection, window, upto)
        due = self.moments.due(keyed.events)
        if due or not read.all or len(keyed.events) < len(read.texts):
            new = keyed.events[-1].position
        self._expect(len(keyed.events), cut=len(keyed.events) < len(read.texts))
        # Only under this lock are the rows safe to read: an in-place refold may be at them.
        await self.advance(connection, old, new, keyed.events)
        held = await dead_letters.held_among(
            connection, self.projection.name, self.generation.generation, keyed.all_keys
        )
        keys = [key for key in keyed.all_keys if key not in held]
        current: dict[Key, Row | None] = dict.fromkeys(keys)
        current.update(await self.rows.read(connection, keys))
        before = dict(current)
        hand.renew()
        applied = Applied()
        if keyed.events:
            applied = await in_thread(applying.applied, keyed, current, held, hand, hand=hand)
        if applied.events < len(keyed.events):
            del keyed.events[applied.events :], keyed.keys[applied.events :]
            cut = keyed.events[-1].position
            await self.advance(connection, new, cut, keyed.events)
            new, due = cut, self.moments.due(keyed.events)
        refused = await self._put(connection, keyed, applied, before, current, careful=careful)
        last = keyed.events[-1] if keyed.events else None
        if self.moments.marked:
            written = {key: (before[key], current[key]) for key in applied.keys}
            await self.moments.keep(connection, old, written, last)
        await dead_letters.add(
            await raw(connection),
            self.projection.name,
            self.generation.generation,
            [
                letter
                for letter in [*keyed.letters, *applied.letters, *refused]
                if letter.position <= new
            ],
            most=most_letters(self.poison),
            run_id=self.run_id,
        )
        if due:
            await self.moments.make(connection, new, last)
        self.position = new
        return applied.events

    def _expect(self, events: int, *, cut: bool) -> None:
        """Reads about as many events next time as could be applied this time."""
        if cut:
            self._at_most = max(10, 2 * events)
        elif self._at_most is not None:
            self._at_most = 2 * self._at_most if self._at_most < self.batch_size else None

    async def _put(
        self,
        connection: AsyncConnection,
        keyed: Keyed,
        applied: Applied,
        before: dict[Key, Row | None],
        current: dict[Key, Row | None],
        *,
        careful: bool,
    ) -> list[Letter]:
        """Writes what the rows have become; returns the poison events behind those refused."""
        # The earlier event gets what only one key can have.
        made = [
            Change(key, current[key])
            for key, _ in sorted(applied.keys.items(), key=itemgetter(1))
            if current[key] is not None or before[key] is not None
        ]
        changes = Changes(connection, self.rows)
        if not careful:
            await changes.write(made)
            return []
        refused = await changes.put(made)
        if not refused:
            return []
        tracing = Tracing(connection, changes, self.projection, self.generation, self.rows.name)
        letters = []
        for key, why in sorted(refused.items(), key=lambda item: applied.keys[item[0]]):
            positions = [
                event.position
                for event, keys in zip(keyed.events, keyed.keys, strict=True)
                if key in keys and event.position <= applied.keys[key]
            ]
            # Anew: handlers may have changed those that they were given.
            events = await read_at(connection, positions)
            traced = await tracing.trace(key, before[key], events, why)
            if not self.poison.sets_aside:
                raise traced.poison
            await changes.put([Change(key, traced.row)])
            current[key] = traced.row
            letters.append(traced.letter(key))
        return letters

    async def advance(
        self, connection: AsyncConnection, old: int, new: int, events: list[Event]
    ) -> None:
        """Moves the checkpoint, and what goes with it, to where these events lead.

        Raises:
            Fenced: Somebody else has moved it.
        """
        await generations.advance(
            connection,
            self.projection.name,
            self.generation.generation,
            old=old,
            new=new,
            fence=self.fence,
            **self.moments.on_the_way(events),
        )

    @property
    def _piece_seconds(self) -> float:
        """After how long a batch ends, however many events are left."""
        return min(PIECE_SECONDS, self.projection.checkpoints.every_seconds or PIECE_SECONDS)


async def take_follower(
    connection: AsyncConnection, projection: Projection, plan: Plan
) -> Follower:
    """Takes the plan's generation over for following, in the caller's transaction.

    Raises:
        RunEnded: The generation is gone.
    """
    follower = await take(
        connection, projection, plan.generation, plan.batch_size, plan.poison, run_id=plan.run_id
    )
    if not _is_mine(follower.generation, plan):
        raise RunEnded(f"generation {plan.generation} of {projection.name!r} cannot be followed")
    return follower


async def take(
    connection: AsyncConnection,
    projection: Projection,
    number: int,
    batch_size: int,
    poison: Poison,
    *,
    run_id: str | None = None,
) -> Follower:
    """Takes a generation over for following, in the caller's transaction.

    Raises:
        RunEnded: The generation is gone, or has no checkpoint.
    """
    fence = await generations.take_fence(connection, projection.name, number)
    generation = await generations.get(connection, projection.name, number)
    if generation is None or generation.position is None:
        raise RunEnded(f"generation {number} of {projection.name!r} cannot be followed")
    rows = RowStore(physical(projection, generation.schema_name))
    position = generation.position
    # Skipped later are events that it has passed: those of dead letters.
    skipped = await dead_letters.skipped(connection, projection.name, after=position)
    moments = await take_moments(connection, projection, generation, rows)
    return Follower(
        projection, generation, fence, rows, position, batch_size, poison, run_id, skipped, moments
    )


def _is_mine(generation: Generation, plan: Plan) -> bool:
    if plan.restores:
        return generation.status == RETAINED
    return generation.run_id == plan.run_id if plan.atomic else generation.status == ACTIVE
