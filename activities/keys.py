"""Keys that a function makes: computed slice by slice of the log, and written down."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.folding.pacing import Pace
from refold.engine.keying.computing import Records, computing, write_down
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
from refold.store.side_keys.tables import side_table


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
            position, events = taken.position, 0
            async with stream(reader, statement, fetch=pace.batch_size) as chunks:
                pace.starts()
                async for chunk in chunks:
                    texts = chunk
                    while texts:
                        records: Records = []
                        done = await in_thread(made.keyed, texts, records, hand=made.hand)
                        made.hand.renew()
                        upto = position_of(texts[done - 1])
                        async with own_transaction(writer) as driver:
                            told = await slices.advance(
                                *(driver, side, taken),
                                position=position,
                                upto=upto,
                                events=done,
                                done=False,
                            )
                            await write_down(driver, side, records)
                        position, events, texts = upto, events + done, texts[done:]
                        beat.show(doing="computing keys", slice=segment.slice, events=events)
                        goes_on = not pace.is_told(told) and await pace.wait(writer, done)
                        if not goes_on or clock() > end or activity.is_worker_shutdown():
                            return KeyedSegment(done=False, events=events)
            async with own_transaction(writer) as driver:
                await slices.advance(
                    *(driver, side, taken), position=position, upto=high, events=0, done=True
                )
            return KeyedSegment(done=True, events=events)
