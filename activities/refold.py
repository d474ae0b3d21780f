"""Refold: whole keys recomputed from their events, in key order, batch by batch."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.folding import poison_events
from refold.engine.folding.keys_at_once.refolding import TakesNotAtOnce, key_order_fold
from refold.engine.folding.pacing import Pace
from refold.engine.folding.partition import PartitionWork
from refold.engine.folding.refolded_rows import Target
from refold.engine.keying.computing import reach
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.counters import report_of
from refold.engine.planning.repaired_keys import RepairedKeys
from refold.engine.sql.refolding import SelectWork
from refold.engine.sql.select_fold import in_sql
from refold.engine.turns import Turns
from refold.errors import HandlerOverdue, RunEnded
from refold.messages.run.life import Phase, RefoldedSegment, RefoldSegment
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.narrowed.sent_event import ReadsMore
from refold.projection.registry import Registry
from refold.runtime.database import autocommit
from refold.runtime.settings import Settings
from refold.runtime.threads import in_thread
from refold.source.decoding import decoded
from refold.source.head import SettledHead
from refold.source.port.current import event_source
from refold.source.port.elsewhere import events_engine
from refold.source.port.sent import sent_of, warn_of
from refold.source.portions import stream
from refold.source.settled.patience import patience_of
from refold.store import generations, partitions, schema
from refold.store.gaps import late_events
from refold.store.partitions import Partition
from refold.store.sessions.takeover import take_over
from refold.store.side_keys.tables import side_table
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore

logger = logging.getLogger(__name__)

# Sorting a partition's events may take long before the first one comes. A segment works at least
# this many times as long as it waited, so that waiting stays a small share of the whole.
_WORK_PER_WAIT = 4.0


class RefoldActivities(StepActivities):
    """The activity that refolds a partition.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the length of a segment.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, settings: Settings) -> None:
        super().__init__(engine, registry, settings.deployment_seconds)
        self._segment_seconds = settings.segment_seconds
        # PostgreSQL sorts faster than this process folds. When partitions are sorted one after
        # another, the first is folded while the next is sorted; sorted all at once, all would
        # keep the process waiting.
        self._sorting = asyncio.Lock()
        self._turns = Turns()

    @activity.defn
    async def refold_segment(self, segment: RefoldSegment) -> RefoldedSegment:
        """Refolds a partition's next keys, for about ten seconds or until it is done.

        It goes on where the last committed batch of any attempt ended.

        Raises:
            PoisonEvent: An event that a handler cannot take.
            Fenced: Another attempt has taken the partition over.
            RunEnded: The run was ended from outside.
        """
        plan, projection = await self._planned(segment)
        one_by_one = False  # which finds an event that cannot be taken among many
        while True:
            try:
                done = await self._refolded(segment, plan, projection, one_by_one=one_by_one)
                return await self._told(plan, done) if done.done else done
            except ReadsMore as more:
                warn_of(projection, more)
                continue
            except TakesNotAtOnce as error:
                logger.warning("%s", error)
            except HandlerOverdue as error:
                if one_by_one or projection.key_fold is None:
                    raise
                logger.warning("%s; its events are folded one by one", error)
            one_by_one = projection.key_fold is not None

    async def _told(self, plan: Plan, segment: RefoldedSegment) -> RefoldedSegment:
        """What a partition's last segment did, with the run's counters if it was the last of all.

        Partitions are done when their last batch is committed. So the one that commits last finds
        all of them done, wherever the others were refolded.
        """
        async with heartbeating(self._engine, plan.run_id):
            report = await report_of(self._engine, plan.run_id)
            if not report.refolded:
                return segment
            async with announcements.sampling(self._engine) as connection:
                await announcements.progressed(connection, plan.run_id, report, Phase.REFOLDING)
            at_head = not plan.atomic and await self._is_at_head(plan)
        return segment.model_copy(update={"report": report, "at_head": at_head})

    async def _is_at_head(self, plan: Plan) -> bool:
        """Whether all events are in the live table, and none is about to be committed."""
        if patience_of(event_source()) is not None:
            return False  # who follows looks at gaps, too
        looking = autocommit(self._engine)
        async with looking.connect() as connection:
            head = SettledHead(plan.head)
            await head.poll(connection)
            live = await generations.get(connection, plan.projection, plan.generation)
        position = None if live is None else live.position
        return position is not None and position >= head.position and not head.waiting_for

    async def _refolded(
        self, segment: RefoldSegment, plan: Plan, projection: Projection, *, one_by_one: bool
    ) -> RefoldedSegment:
        select = in_sql(projection)
        # With a limited rate there is little to compute, and much to wait for.
        computes = select is None and not plan.limits(segment.controls).events_per_second
        async with (
            heartbeating(self._engine, plan.run_id) as beat,
            self._turns.turn(plan.run_id, beat, waits=computes) as turn,
            events_engine(self._engine).connect() as reader,
            self._engine.connect() as writer,
        ):
            row = partitions.row_of(plan.run_id, segment.partition)
            await take_over(self._engine, schema.partitions, row)
            async with writer.begin():
                partition = await partitions.take(
                    writer, projection, plan.run_id, segment.partition
                )
            if partition.done:
                return RefoldedSegment(done=True, events=0, batches=0)
            target = await self._target(writer, plan, projection, partition)
            if target is None:
                return RefoldedSegment(done=False, events=0, batches=0, keys_lost=True)
            if select is not None:
                work: PartitionWork = SelectWork(writer, partition, target, select)
            else:
                work = PartitionWork(writer, partition, target)
            pace = Pace(self._engine, plan, segment.controls, beat)
            if not await pace.begin(writer):
                return work.result(done=False)
            beat.show(partition=partition.partition, resumed_at=partition.processed_events)
            clock = asyncio.get_running_loop().time
            await work.find_strays()
            if isinstance(work, SelectWork):
                end = clock() + self._segment_seconds
                return await work.segment(
                    reader,
                    pace,
                    beat,
                    lambda: clock() > end or activity.is_worker_shutdown(),
                )
            sent = sent_of(projection)
            statement, carry = await work.remaining(sent)
            fold = key_order_fold(projection, one_by_one=one_by_one)(
                projection,
                pace.batch_size,
                carry,
                sets_aside=plan.poison.sets_aside,
                batch_seconds=pace.batch_seconds,
                sent=sent,
            )
            async with AsyncExitStack() as reading:
                async with self._sorting:
                    asked = clock()
                    chunks = await reading.enter_async_context(
                        stream(
                            reader,
                            statement,
                            fetch=pace.batch_size,
                            sent=sent,
                            upto=target.position,
                        )
                    )
                    texts = await anext(chunks, None)
                    waited = clock() - asked
                end = clock() + max(self._segment_seconds, _WORK_PER_WAIT * waited)
                pace.starts()
                while texts is not None:
                    folding = fold.feed(decoded(texts, fold.hand))
                    while not fold.is_fed:
                        batch = await in_thread(next, folding, None, hand=fold.hand)
                        if batch is None:
                            break
                        turn.took(fold.hand.spent)
                        fold.hand.renew()
                        told = await work.write(batch, done=False)
                        beat.show(partition=partition.partition, events=work.events)
                        goes_on = not pace.is_told(told) and await pace.wait(writer, batch.events)
                        if not goes_on or clock() > end or activity.is_worker_shutdown():
                            return work.result(done=False)
                        fold.batch_size = pace.batch_size
                    texts = await anext(chunks, None)
            last = fold.finish()
            await work.finish(last)
            await pace.spend(writer, last.events)
            return work.result(done=work.is_last)

    async def _target(
        self,
        connection: AsyncConnection,
        plan: Plan,
        projection: Projection,
        partition: Partition,
    ) -> Target | None:
        """Where the rows go; None when the keys that a function has made are gone."""
        side = side_table(projection, plan.run_id) if plan.is_keyed else None
        source = event_source()
        patient = patience_of(source) is not None
        async with connection.begin():
            late_to = await late_events.newest(connection, source.name) if patient else 0
            generation = await generations.get(connection, projection.name, plan.generation)
        if generation is None:
            raise RunEnded(f"generation {plan.generation} of {projection.name!r} is gone")
        position = generation.position if plan.replaces_keys else plan.position
        assert position is not None
        if side is not None and not await reach(connection, side, plan, projection, position):
            return None
        async with connection.begin():
            passed = await poison_events.passed_over(
                connection, projection, plan.generation, side=side
            )
        rows = RowStore(physical(projection, generation.schema_name))
        target = Target(plan, projection, generation, rows, position, None, passed, side=side)
        if plan.selection is not None:
            async with connection.begin():
                keys = RepairedKeys(connection, projection, plan.run_id, side)
                target.among, target.upto_key = await keys.next_of(partition)
        target.patient, target.late_to = patient, late_to
        return target
