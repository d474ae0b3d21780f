"""Keys that a function makes: computed slice by slice of the log, and written down."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.folding.pacing import Pace
from refold.engine.keying.computing import Computing, Records, computing, write_down
from refold.messages.run.life import KeyedSegment, KeySegment
from refold.projection.registry import Registry
from refold.runtime.database import own_transaction
from refold.runtime.settings import Settings
from refold.runtime.threads import in_thread
from refold.source.portions import position_of, stream
from refold.source.reader import in_position_order
from refold.store import dead_letters
from refold.store.sessions.takeover import take_over
from refold.store.side_keys import slices
from refold.store.side_keys.slices import Slice
from refold.store.side_keys.tables import SideTable, side_table

# Keys are small: a transaction for each thousand would cost as much as they do.
_COMMITTED_AT_ONCE = 10_000
# But who waits is not to wait for long, and little is to be done again after a crash.
_SLOW_SECONDS = 0.5


class KeyActivities(StepActivities):
    """The activity that computes keys.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the length of a segment.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, settings: Settings) -> None:
        super().__init__(engine, registry, settings.deployment_seconds)
        self._segment_seconds = settings.segment_seconds

    @activity.defn
    async def compute_keys(self, segment: KeySegment) -> KeyedSegment:
        """Computes the next keys of a slice, for about ten seconds or until it is done.

        It goes on where the last committed batch of any attempt ended.

        Raises:
            PoisonEvent: An event that the key function cannot take, and that is not set aside.
            Fenced: Another attempt has taken the slice over.
            RunEnded: The run was ended from outside.
        """
        plan, projection = await self._planned(segment)
        side = side_table(projection, plan.run_id)
        low, high = plan.key_cuts[segment.slice : segment.slice + 2]
        async with (
            heartbeating(self._engine, plan.run_id) as beat,
            self._engine.connect() as reader,
            self._engine.connect() as writer,
        ):
            await take_over(self._engine, side.slices, slices.row_of(side, segment.slice))
            async with writer.begin():
                taken = await slices.take(writer, side, segment.slice, low)
                skipped = await dead_letters.skipped(writer, projection.name)
                made = await computing(writer, plan, projection)
            if taken.done:
                return KeyedSegment(done=True, events=0)
            pace = Pace(self._engine, plan, segment.controls, beat)
            if not await pace.begin(writer):
                return KeyedSegment(done=False, events=0)
            statement = in_position_order(
                types=projection.event_types,
                after=taken.position,
                upto=high,
                since=projection.start_from,
                passed_over=skipped,
            )
            clock = asyncio.get_running_loop().time
            end = clock() + self._segment_seconds
            work = _Slice(writer, side, taken, made)
            most = pace.batch_size
            if not plan.limits(segment.controls).events_per_second:
                most = max(most, _COMMITTED_AT_ONCE)
            async with stream(reader, statement, fetch=pace.batch_size) as chunks:
                pace.starts()
                async for texts in chunks:
                    await work.take(texts)
                    if work.taken_in < most and not work.is_slow:
                        continue
                    done = work.taken_in
                    told = await work.commit()
                    beat.show(doing="computing keys", slice=segment.slice, events=work.events)
                    goes_on = not pace.is_told(told) and await pace.wait(writer, done)
                    if not goes_on or clock() > end or activity.is_worker_shutdown():
                        return KeyedSegment(done=False, events=work.events)
            await work.commit(upto=high)
            return KeyedSegment(done=True, events=work.events)


class _Slice:
    """One attempt's work on one slice: keys that are made, and written down batch by batch."""

    def __init__(
        self, writer: AsyncConnection, side: SideTable, taken: Slice, computing: Computing
    ) -> None:
        self._writer = writer
        self._side = side
        self._taken = taken
        self._computing = computing
        self._records: Records = []
        self._position = self._upto = taken.position
        self.taken_in = 0
        self.events = 0
        self.is_slow = False

    async def take(self, texts: list[str]) -> None:
        """Makes the keys of a chunk of events; what takes long is committed in between."""
        hand = self._computing.hand
        while texts:
            done = await in_thread(self._computing.keyed, texts, self._records, hand=hand)
            self.taken_in += done
            self._upto = position_of(texts[done - 1])
            texts = texts[done:]
            self.is_slow = hand.spent > _SLOW_SECONDS
            if texts:
                await self.commit()

    async def commit(self, upto: int | None = None) -> int:
        """Writes down what was taken in.

        Args:
            upto: Up to here (inclusive) is all that there is.

        Returns:
            The revision of what the run has been told.

        Raises:
            Fenced: Another attempt has taken over; nothing is written.
        """
        to = self._upto if upto is None else upto
        async with own_transaction(self._writer) as driver:
            told = await slices.advance(
                *(driver, self._side, self._taken),
                position=self._position,
                upto=to,
                events=self.taken_in,
                done=upto is not None,
            )
            await write_down(driver, self._side, self._records)
        self._computing.hand.renew()
        self._position, self._upto = to, to
        self.events += self.taken_in
        self.taken_in, self._records, self.is_slow = 0, [], False
        return told
