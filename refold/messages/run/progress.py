"""What a run says of its progress: numbers that only go up, and a rate over the last seconds."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from refold.messages.markdown import escaped, table
from refold.messages.run.controls import Controls
from refold.messages.run.endings import Why
from refold.messages.run.life import PartitionProgress, Phase, Progress, ProgressReport
from refold.messages.run.plan import Plan
from refold.messages.run.status import RunStatus
from refold.requests.limits import Limits

# The rate is measured over this time; a shorter run is measured whole.
_WINDOW = timedelta(seconds=15)
# Below this there is no rate to speak of; below the next, no time left to foretell.
_LEAST = timedelta(seconds=0.5)
_LEAST_TO_FORETELL = timedelta(seconds=2)

_CAN_BE_HELD = (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL, RunStatus.ROLLING_BACK)

# Until the swap is made the work is not complete, whatever the counters say.
_ALMOST = 99.9


class ProgressMeter:
    """Gathers reports and answers with `Progress`. Pure: it is given the time.

    Args:
        so_far: Where an earlier execution of the same run left off.
    """

    def __init__(self, so_far: Progress | None = None) -> None:
        known = so_far or Progress(status=RunStatus.PENDING, phase=Phase.PLANNING)
        self.status = known.status
        self.phase = known.phase
        self.waiting_for: list[str] = known.waiting_for
        self.steps_wait_for: list[str] = []
        self.failing = known.failing
        self.obstacles: list[str] = known.obstacles
        # Asked to pause, or paused: shown instead of what it is doing otherwise.
        self.held: RunStatus | None = None
        self.controls = Controls()
        self._holding: str | None = None
        self.completed = False
        self.dead_letters = known.dead_letters
        self._plan: Plan | None = None
        self._partitions: list[PartitionProgress] = known.partitions
        self._events = known.events_processed
        self._total = known.total_events
        self._keyed, self._to_key = known.keyed_events, known.events_to_key
        self._percent = known.percent_complete
        self._samples: deque[tuple[datetime, int]] = deque()
        if known.updated_at is not None:
            done = known.events_processed + known.keyed_events
            self._samples.append((known.updated_at, done))

    @property
    def events_processed(self) -> int:
        """Events folded and committed so far."""
        return self._events

    def planned(self, plan: Plan, at: datetime) -> None:
        """Takes in the plan: from here on there is a total."""
        self._plan = plan
        if plan.awaits_keys:
            self._to_key = max(self._to_key, plan.total_events)
        else:
            self._total = max(self._total, plan.total_events)
        if not self._samples:
            self._samples.append((at, self._events))

    def observe(self, report: ProgressReport) -> None:
        """Takes in a report; an older or smaller one changes no events."""
        self.dead_letters = report.dead_letters
        self._holding = report.holding
        self._partitions = _furthest(self._partitions, report.partitions)
        refolded = sum(p.events_processed for p in self._partitions)
        events = max(self._events, refolded + report.followed_events)
        total = sum(p.total_events for p in self._partitions)
        # Events that came after the plan was made are followed, on top of the plan's total.
        beyond = report.followed_events if self._partitions else 0
        self._total = max(self._total, total + beyond, events)
        self._events = events
        # A crash of PostgreSQL makes keys be computed again: they count once.
        self._keyed = max(self._keyed, min(report.keyed_events, self._to_key))
        done, whole = events + self._keyed, self._whole
        if whole:
            self._percent = max(self._percent, min(_ALMOST, 100 * done / whole))
        if not self._samples or report.at > self._samples[-1][0]:
            self._samples.append((report.at, done))
        elif len(self._samples) == 1:
            # The plan's time is another clock's; one ahead of the database's must not stop us.
            self._samples[0] = (report.at, done)
        while len(self._samples) > 2 and self._samples[1][0] < self._samples[-1][0] - _WINDOW:
            self._samples.popleft()

    @property
    def _whole(self) -> int:
        """Events to key and events to fold; before the plan is whole, all that can be known."""
        return self._to_key + (self._total or self._to_key)

    @property
    def events_per_second(self) -> float:
        """The rate over the last seconds; 0 before there is one."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        passed = ended - began
        return (last - first) / passed.total_seconds() if passed >= _LEAST else 0.0

    def resumed(self) -> None:
        """Forgets the time before: what was not done meanwhile says nothing of the rate."""
        self._samples.clear()
        self._holding = None

    @property
    def _observed(self) -> timedelta:
        """The time that the rate is measured over."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else timedelta(0)

    def progress(self) -> Progress:
        """The answer to the query `progress`."""
        rate = self.events_per_second
        left: float | None = None
        if self.status.ended:
            left = 0.0
        elif rate > 0 and self.held is None and self._observed >= _LEAST_TO_FORETELL:
            left = round((self._whole - self._events - self._keyed) / rate, 1)
        completed = self.completed or self.status is RunStatus.COMPLETED
        shown = self.status
        if self.held is not None and self.status in _CAN_BE_HELD:
            shown = self.held
        return Progress(
            status=shown,
            phase=self.phase,
            events_processed=self._events,
            total_events=self._total,
            percent_complete=100.0 if completed else round(self._percent, 1),
            events_per_second=0.0 if shown is RunStatus.PAUSED else round(rate, 1),
            estimated_seconds_remaining=left,
            generation=self._plan.generation if self._plan else None,
            partitions=self._partitions,
            updated_at=self._samples[-1][0] if self._samples else None,
            note=self._plan.note if self._plan else None,
            waiting_for=self._all_waited_for(),
            obstacles=[] if self.status.ended else self.obstacles,
            limits=self._limits(),
            dead_letters=self.dead_letters,
            failing=None if self.status.ended else self.failing,
            keyed_events=self._keyed,
            events_to_key=self._to_key,
        )

    def _all_waited_for(self) -> list[str]:
        if self.status.ended:
            return self.waiting_for
        held = [self._holding] if self._holding else []
        return list(dict.fromkeys([*self.waiting_for, *self.steps_wait_for, *held]))

    def _limits(self) -> Limits | None:
        """What it goes by now; before the plan only what it has been told, None for nothing."""
        return self.controls.limits if self._plan is None else self._plan.limits(self.controls)


def _furthest(
    known: list[PartitionProgress], reported: list[PartitionProgress]
) -> list[PartitionProgress]:
    """Each partition as far as anybody has seen it."""
    furthest = {p.partition: p for p in known}
    for p in reported:
        was = furthest.get(p.partition, p)
        furthest[p.partition] = max(was, p, key=lambda p: (p.done, p.events_processed))
    return [furthest[number] for number in sorted(furthest)]


def as_markdown(
    progress: Progress, title: str, *, failure: Why | None = None, next_steps: str | None = None
) -> str:
    """Progress as the Temporal UI shows it under a workflow's details.

    Args:
        progress: How far the run is.
        title: What it is.
        failure: Why it has ended without doing what it was asked for.
        next_steps: What a person can do now, as Markdown.
    """
    left = progress.estimated_seconds_remaining
    rows = [
        ["phase", progress.phase],
        ["events", f"{progress.events_processed:,} of {progress.total_events:,}"],
        ["complete", f"{progress.percent_complete:.1f} %"],
        ["events a second", f"{progress.events_per_second:,.0f}"],
        ["seconds left", "not known yet" if left is None else f"{left:,.0f}"],
    ]
    if progress.events_to_key:
        keyed = f"{progress.keyed_events:,} of {progress.events_to_key:,}"
        rows.insert(1, ["keys computed, of events", keyed])
    if progress.dead_letters:
        rows.append(["dead letters", f"{progress.dead_letters:,}"])
    lines = [f"### {escaped(title)}", "", *table(["status", progress.status], rows)]
    if failure is not None and failure.error:
        lines += ["", escaped(failure.error)]
    if next_steps is not None:
        lines += ["", next_steps]
    if progress.limits is not None:
        lines += ["", _limits_in_words(progress.limits, progress.phase)]
    if progress.failing is not None:
        lines += ["", escaped(str(progress.failing))]
    if progress.waiting_for:
        lines += ["", "waiting for " + escaped("; ".join(progress.waiting_for))]
    if progress.obstacles:
        found = "; ".join(progress.obstacles)
        lines += ["", escaped(f"would stop the swap, which waits for a while then: {found}")]
    if progress.note:
        lines += ["", escaped(progress.note)]
    if progress.partitions:
        partitions = [
            [
                str(p.partition + 1),
                f"{p.events_processed:,}",
                f"{p.total_events:,}",
                "done" if p.done else "in progress",
            ]
            for p in progress.partitions
        ]
        lines += ["", *table(["partition", "events", "of", "state"], partitions)]
    return "\n".join(lines)


def _limits_in_words(limits: Limits, phase: Phase) -> str:
    words = []
    if limits.batch_size is not None:
        words.append(f"{limits.batch_size:,} events a batch")
    if limits.max_concurrency is not None:
        words.append(f"{limits.max_concurrency} partitions at a time")
    rate = limits.events_per_second
    if rate:
        words.append(f"at most {rate:,.0f} events a second")
    elif rate == 0 or phase is not Phase.PLANNING:  # the plan may have a limit of its own
        words.append("as fast as it can")
    return f"limits: {', '.join(words)}"
