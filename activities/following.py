"""Follow: new events applied in position order, rows and checkpoint in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities import announcing
from activities.counters import read_report
from activities.deployment import Deployment
from activities.heartbeat import heartbeating
from activities.keyed_events import Applied, Keyed
from activities.pacing import Pace
from activities.refused_rows import Tracing
from activities.row_bounds import fitting
from activities.setting_aside import most_letters
from activities.target_wait import TargetWait
from refold.database import raw
from refold.dead_letters import Letter
from refold.errors import PoisonEvent, RunEnded, TargetBehind
from refold.key import Key
from refold.messages import FollowedSegment, FollowSegment, Plan
from refold.poison import Poison
from refold.projection import Projection, Row
from refold.registry import Registry
from refold.settings import Settings
from refold.source.head import SettledHead
from refold.source.portions import BatchReader
from refold.source.reader import as_events, in_position_order
from refold.store import dead_letters, generations, runs, schema
from refold.store.changes import Change, Changes
from refold.store.generations import ACTIVE, BUILDING, RETAINED, Generation
from refold.store.read_models import physical
from refold.store.rows import RowStore
from refold.store.takeover import take_over
from refold.telemetry import tracer
from refold.threads import Hand, in_thread

# One statement looks at this many positions a wanted event, so that a rare type does not scan the
# whole log at once.
_WINDOW_PER_EVENT = 50

# Writers whose transactions overlap settle within moments; one that does not is not waited for.
_SETTLING_SECONDS = 5.0

_LONGEST_SECONDS = 4.0


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
        reader: How many events it reads at a time.
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
    reader: BatchReader = field(default_factory=BatchReader)

    async def apply_batch(self, connection: AsyncConnection, upto: int) -> int:
        """Applies the next events in the caller's transaction, the checkpoint first.

        No more than a batch may have, in number and in bytes, and in the time that it takes.

        Args:
            connection: In a transaction.
            upto: A settled position (inclusive).

        Returns:
            How many events were applied. `position` is right only once the transaction commits.

        Raises:
            Fenced: Somebody else has moved the checkpoint.
            PoisonEvent: An event that a handler cannot take.
        """
        old = self.position
        window = min(upto, old + self.batch_size * _WINDOW_PER_EVENT)
        statement = in_position_order(
            types=self.projection.event_types,
            upto=window,
            since=self.projection.start_from,
            passed_over=self.skipped,
        )
        read = await self.reader.read(connection, statement, after=old, limit=self.batch_size)
        hand = Hand(self.projection.name)
        keyed = Keyed()
        if read.records:
            keyed = await in_thread(self._keyed, read.records, hand, hand=hand)
            fit = await fitting(connection, self.rows, keyed.keys)
            del keyed.events[fit:], keyed.keys[fit:]
        new = window
        if not read.all or len(keyed.events) < len(read.records):
            new = keyed.events[-1].position
        # Only under this lock are the rows safe to read: an in-place refold may be at them.
        await self._advance(connection, old, new)
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
            applied = await in_thread(self._applied, keyed, current, held, hand, hand=hand)
        if applied.events < len(keyed.events):
            cut = keyed.events[applied.events - 1].position
            await self._advance(connection, new, cut)
            new = cut
        refused = await self._put(connection, keyed, applied, before, current)
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
        self.position = new
        return applied.events

    async def _put(
        self,
        connection: AsyncConnection,
        keyed: Keyed,
        applied: Applied,
        before: dict[Key, Row | None],
        current: dict[Key, Row | None],
    ) -> list[Letter]:
        """Writes what the rows have become; returns the poison events behind those refused."""
        # The earlier event gets what only one key can have.
        made = [
            Change(key, current[key])
            for key, _ in sorted(applied.keys.items(), key=itemgetter(1))
            if current[key] is not None or before[key] is not None
        ]
        changes = Changes(connection, self.rows)
        refused = await changes.put(made)
        if not refused:
            return []
        tracing = Tracing(connection, changes, self.projection, self.generation, self.rows.name)
        letters = []
        for key, why in sorted(refused.items(), key=lambda item: applied.keys[item[0]]):
            events = [
                event
                for event, keys in zip(keyed.events, keyed.keys, strict=True)
                if key in keys and event.position <= applied.keys[key]
            ]
            traced = await tracing.trace(key, before[key], events, why)
            if not self.poison.sets_aside:
                raise traced.poison
            await changes.put([Change(key, traced.row)])
            letters.append(traced.letter(key))
        return letters

    async def _advance(self, connection: AsyncConnection, old: int, new: int) -> None:
        await generations.advance(
            connection,
            self.projection.name,
            self.generation.generation,
            old=old,
            new=new,
            fence=self.fence,
        )

    def _keyed(self, records: Sequence[Any], hand: Hand) -> Keyed:
        """The events with their keys, and those whose key does not fit, if they are set aside."""
        keyed = Keyed()
        for event in hand.each(as_events(records)):
            keys: list[Key] = []
            try:
                keys = self.projection.keys_of(event)
            except PoisonEvent as poison:
                keyed.letters.append(self._letter(poison, None))
            keyed.events.append(event)
            keyed.keys.append(keys)
            if hand.due:
                break
        return keyed

    def _applied(
        self, keyed: Keyed, current: dict[Key, Row | None], held: set[Key], hand: Hand
    ) -> Applied:
        """Applies events to the rows of their keys, as many as there is time for."""
        applied = Applied()
        for event, keys in zip(keyed.events, keyed.keys, strict=True):
            for key in keys:
                if key in held:
                    continue
                hand.begin(event)
                fields = self.projection.key_fields(key)
                try:
                    current[key] = self.projection.apply(current[key], event, fields)
                except PoisonEvent as poison:
                    applied.letters.append(self._letter(poison, key))
                    held.add(key)
                else:
                    applied.keys[key] = event.position
            applied.events += 1
            if hand.due:
                break
        hand.event = None
        return applied

    def _letter(self, poison: PoisonEvent, key: Key | None) -> Letter:
        if not self.poison.sets_aside:
            raise poison
        return Letter.of(poison, key=key)


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
    return Follower(
        projection, generation, fence, rows, position, batch_size, poison, run_id, skipped
    )


def _is_mine(generation: Generation, plan: Plan) -> bool:
    if plan.restores:
        return generation.status == RETAINED
    return generation.run_id == plan.run_id if plan.atomic else generation.status == ACTIVE


class FollowActivities:
    """The activity that brings a generation to the head.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the length of a segment.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, settings: Settings) -> None:
        self._engine = engine
        self._registry = registry
        self._deployment = Deployment(engine, registry, settings.deployment_seconds)
        self._segment_seconds = settings.segment_seconds

    @activity.defn
    async def follow_segment(self, segment: FollowSegment) -> FollowedSegment:
        """Applies new events for some seconds, or until the generation is where it should be.

        Raises:
            PoisonEvent: An event that a handler cannot take.
            Fenced: Another attempt has taken over.
        """
        plan = segment.plan
        projection = await self._deployment.planned(plan)
        clock = asyncio.get_running_loop().time
        # Nobody watches meanwhile: a segment's end is what moves the run's progress.
        end = clock() + min(self._segment_seconds, _LONGEST_SECONDS)
        looking = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        async with (
            heartbeating(self._engine, plan.run_id) as beat,
            looking.connect() as looker,
            self._engine.connect() as writer,
        ):
            row = generations.row_of(projection.name, plan.generation)
            await take_over(self._engine, schema.generations, row, spares_work=not plan.atomic)
            async with writer.begin():
                follower = await take_follower(writer, projection, plan)
            pace = Pace(self._engine, plan, segment.controls, beat)
            if plan.stale:
                upto = plan.position
            elif segment.to_live:
                upto = await self._live_position(looker, plan)
            else:
                head = SettledHead(max(plan.head, follower.position))
                upto = await head.wait(
                    looker,
                    seconds=_SETTLING_SECONDS,
                    waiting=lambda writers: beat.show(waiting_for=[str(w) for w in writers]),
                )
            goes_on = follower.position < upto and await pace.begin(writer)
            target = TargetWait()
            while goes_on:
                follower.batch_size = pace.batch_size
                next_upto = target.upto(follower.position, upto)
                try:
                    events, told = await self._apply(writer, follower, plan, next_upto)
                except TargetBehind as error:
                    await target.behind(error, follower.position)
                    beat.show(position=follower.position, head=upto, waiting_for=target.waiting_for)
                    goes_on = await pace.wait(writer, 0) and not activity.is_worker_shutdown()
                    continue
                target.reached(follower.position)
                beat.show(position=follower.position, head=upto)
                if follower.position >= upto:
                    await pace.spend(writer, events)
                    break
                goes_on = not pace.is_told(told) and await pace.wait(writer, events)
                if clock() > end or activity.is_worker_shutdown():
                    break
            async with writer.begin():
                report = await read_report(writer, plan.run_id)
            async with announcing.sampling(self._engine) as connection:
                await announcing.progressed(connection, plan.run_id, report)
            return FollowedSegment(
                caught_up=follower.position >= upto,
                position=follower.position,
                head=upto,
                report=report,
            )

    async def _live_position(self, connection: AsyncConnection, plan: Plan) -> int:
        """Where the live table stands; without one, or one that nobody followed, as planned."""
        active = await generations.active(connection, plan.projection)
        return plan.head if active is None or active.position is None else active.position

    async def _apply(
        self, writer: AsyncConnection, follower: Follower, plan: Plan, upto: int
    ) -> tuple[int, int]:
        """Applies a batch; returns its events, and the revision of what the run has been told."""
        name = follower.projection.name
        with tracer.start_as_current_span("follow batch", attributes={"projection": name}) as span:
            async with writer.begin():
                if follower.generation.status == BUILDING:
                    await writer.execute(text("SET LOCAL synchronous_commit = off"))
                events = await follower.apply_batch(writer, upto)
                told = await runs.add_followed(writer, plan.run_id, events)
            span.set_attribute("events", events)
        return events, told
