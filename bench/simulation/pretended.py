"""Activities that do no work and answer at once, as they would while so many events are folded.

Time is counted in segments: each stands for the seconds that it would have taken. What would wait
for time to pass, such as a look at the progress, waits for as many segments.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from refold.messages.live import LiveReport, LiveSegment, LiveStatus, RecordedNow, RecordSystemEvent
from refold.messages.recorded_event import RecordedEvent
from refold.messages.run.diff import Diff
from refold.messages.run.endings import Finished, FinishRun, Prepared, Swapped, SwapSegment
from refold.messages.run.life import (
    BeginRun,
    FollowedSegment,
    FollowSegment,
    PartitionProgress,
    ProgressReport,
    RefoldedSegment,
    RefoldSegment,
    WatchProgress,
)
from refold.messages.run.plan import Plan, RunStep

# An activity works on a partition for so long.
_SEGMENT_SECONDS = 10.0
# Of a simulated day, so many seconds have events; in the others there are none.
_BUSY_SECONDS, _DAY_SECONDS = 3600, 24 * 3600
# A system event now and then, such as a snapshot's.
_RECORDED_EVERY = 50


@dataclass(frozen=True)
class Scale:
    """How much there is to pretend.

    Attributes:
        events: Of a run, in all.
        segment_events: How many of them a segment folds: what four partitions at a time come to in
            ten seconds, at 160,000 events a second together.
        partitions: Slices of the keys; 64 is the most that there can be.
        at_once: Partitions at a time.
        days: For how long a projection is followed.
    """

    events: int = 1_000_000_000
    segment_events: int = 400_000
    partitions: int = 64
    at_once: int = 4
    days: float = 1.0

    @property
    def run_segments(self) -> int:
        """How many segments a run has."""
        return self.partitions * -(-self.partition_events // self.segment_events)

    @property
    def run_seconds(self) -> float:
        """How long a run would take."""
        return self.run_segments * _SEGMENT_SECONDS / self.at_once

    @property
    def followed_seconds(self) -> float:
        """For how long a projection is followed."""
        return self.days * _DAY_SECONDS

    @property
    def partition_events(self) -> int:
        """How many events a partition has."""
        return self.events // self.partitions


class Pretended:
    """The activities.

    Args:
        scale: How much there is to do.

    Attributes:
        segments: How many segments are done.
        seconds: For how long a projection was followed.
        share: How much is done of all that there is, up to 1.
        followed_long: Set when a projection was followed as long as it was to be.
    """

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._folded: Counter[int] = Counter()
        self._moved = asyncio.Event()
        self.segments = 0
        self.seconds = 0.0
        self.share = 0.0
        self.followed_long = asyncio.Event()

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """All of them, under the names of the real ones."""
        return [
            self.begin_run,
            self.refold_segment,
            self.watch_progress,
            self.build_indexes,
            self.verify_generation,
            self.follow_segment,
            self.prepare_swap,
            self.swap_generation,
            self.finish_run,
            self.follow_live,
            self.record_system_event,
        ]

    # -- a run -------------------------------------------------------------------------------

    @activity.defn
    async def begin_run(self, begin: BeginRun) -> Plan:
        """The plan: the same one, however often it is asked for."""
        scale = self._scale
        return Plan(
            run_id=begin.run_id,
            projection=begin.request.projection,
            version=1,
            generation=2,
            atomic=begin.atomic,
            position=scale.events,
            head=scale.events,
            partitions=scale.partitions,
            max_concurrency=scale.at_once,
            batch_size=1000,
            total_events=scale.events,
            heartbeat_seconds=10,
        )

    @activity.defn
    async def refold_segment(self, segment: RefoldSegment) -> RefoldedSegment:
        """Ten seconds of a partition."""
        left = self._scale.partition_events - self._folded[segment.partition]
        events = min(left, self._scale.segment_events)
        self._folded[segment.partition] += events
        # A new execution asks each partition once more.
        self.segments += events > 0
        self.share = self.segments / self._scale.run_segments
        self._moved.set()
        return RefoldedSegment(done=events == left, events=events, batches=events // 1000)

    @activity.defn
    async def watch_progress(self, watch: WatchProgress) -> ProgressReport:
        """Counters, after as many segments as are done in that time."""
        upto = self.segments + watch.seconds * self._scale.at_once / _SEGMENT_SECONDS
        # It is cancelled when its workflow has continued as new.
        with suppress(asyncio.CancelledError):
            while self.segments < upto and self.share < 1:
                activity.heartbeat()
                self._moved.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), 0.5)
        return self._report()

    def _report(self) -> ProgressReport:
        of = self._scale.partition_events
        partitions = [
            PartitionProgress(
                partition=number,
                events_processed=self._folded[number],
                total_events=of,
                done=self._folded[number] >= of,
            )
            for number in range(self._scale.partitions)
        ]
        return ProgressReport(partitions=partitions, followed_events=0, at=datetime.now(UTC))

    @activity.defn
    async def build_indexes(self, step: RunStep) -> None:
        """Nothing to build."""

    @activity.defn
    async def verify_generation(self, step: RunStep) -> Diff:
        """All rows are the same."""
        rows = self._scale.events // 5
        return Diff(
            projection="simulated",
            live_generation=1,
            shadow_generation=2,
            position=self._scale.events,
            rows_live=rows,
            rows_shadow=rows,
            added=0,
            removed=0,
            changed=0,
            unchanged=rows,
            columns=[],
            columns_added=[],
            columns_dropped=[],
            columns_retyped=[],
            samples=[],
            folded_again=1000,
            folded_wrong=0,
            wrong=[],
            compared_at=datetime.now(UTC),
        )

    @activity.defn
    async def follow_segment(self, segment: FollowSegment) -> FollowedSegment:
        """It is at the head."""
        head = self._scale.events
        return FollowedSegment(caught_up=True, position=head, head=head, report=self._report())

    @activity.defn
    async def prepare_swap(self, step: RunStep) -> Prepared:
        """Nothing is attached, and it is at the head."""
        return Prepared(mark="", few_left=True)

    @activity.defn
    async def swap_generation(self, segment: SwapSegment) -> Swapped:
        """Nobody is in the way."""
        return Swapped(done=True, position=self._scale.events, hold_milliseconds=5.0)

    @activity.defn
    async def finish_run(self, finish: FinishRun) -> Finished:
        """It has ended."""
        return Finished(generation=2, position=self._scale.events, report=self._report())

    # -- a live projection -------------------------------------------------------------------

    @activity.defn
    async def follow_live(self, segment: LiveSegment) -> LiveReport:
        """As long as it was to follow; events come by day."""
        if self.seconds >= self._scale.followed_seconds:
            self.followed_long.set()
            while True:  # until it is cancelled, which comes as the answer to a heartbeat
                activity.heartbeat()
                await asyncio.sleep(0.1)
        is_busy = self.seconds % _DAY_SECONDS < _BUSY_SECONDS
        self.seconds += segment.seconds
        self.segments += 1
        self.share = self.seconds / self._scale.followed_seconds
        return LiveReport(
            status=LiveStatus.LIVE,
            generation=1,
            version=1,
            followed=True,
            position=self.segments,
            head=self.segments,
            events=500 if is_busy else 0,
            at=datetime.now(UTC),
            system_events=self._recorded(segment.known),
        )

    @activity.defn
    async def record_system_event(self, order: RecordSystemEvent) -> RecordedNow:
        """Nobody else has recorded anything."""
        return RecordedNow(fresh=True, system_events=[])

    def _recorded(self, known: int) -> list[RecordedEvent]:
        if self.segments % _RECORDED_EVERY:
            return []
        data = {"position": self.segments, "generation": 1, "kept_as": "changes"}
        return [
            RecordedEvent(
                projection="simulated",
                number=known + 1,
                type="ProjectionSnapshotCreated",
                data=data,
                recorded_at=datetime.now(UTC),
            )
        ]
