"""What crosses Temporal beside requests: results, progress, and what activities tell."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from refold.criteria import Criteria, Selection
from refold.limits import Controls, Limits, Pacing
from refold.message import Message, open_to_new
from refold.poison import Poison
from refold.preview import Preview
from refold.requests import Approval, BackfillRequest, RollbackRequest
from refold.step_failure import StepFailure

# -- results ---------------------------------------------------------------------------------


class RunStatus(StrEnum):
    """Where a run is in its life; ``-ing`` is asked for, ``-ed`` is settled."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting_approval"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in _ENDED


_ENDED = (RunStatus.CANCELLED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.ROLLED_BACK)


class Phase(StrEnum):
    """What a run is doing, in the order in which it does it."""

    PLANNING = "planning"
    COPYING = "copying"
    REFOLDING = "refolding"
    INDEXING = "indexing"
    VERIFYING = "verifying"
    AWAITING_APPROVAL = "awaiting approval"
    FOLLOWING = "following"
    PREPARING = "preparing the swap"
    SWAPPING = "swapping"
    BRINGING_BACK = "bringing back what stood there"
    CLEANING_UP = "cleaning up"
    DONE = "done"


class BackfillResult(Message):
    """How a run ended.

    Attributes:
        status: ``completed``, ``cancelled`` or ``rolled_back``; a failed run raises instead.
        projection: The projection.
        run_id: The run, as in ``refold.runs``.
        generation: The generation that readers query now, or the snapshot that was made; None when
            nothing was changed.
        position: Its checkpoint at the end.
        events_processed: Events folded, counting each once.
        reason: Why it was cancelled, if anybody said.
        plan: Of a dry run: what would have been done.
        is_snapshot: Whether `generation` is a snapshot, which readers do not query.
        in_place: Whether it repairs the live table itself.
        note: Why it did otherwise than one might expect; None when it did not.
        dead_letters: Poison events that are set aside in the generation that the run has written.
    """

    status: RunStatus
    projection: str
    run_id: str
    generation: int | None = None
    position: int | None = None
    events_processed: int = 0
    reason: str | None = None
    plan: Preview | None = None
    is_snapshot: bool = False
    in_place: bool = False
    note: str | None = None
    dead_letters: int = 0


class PartitionProgress(Message):
    """One partition's part of `Progress`."""

    partition: int
    events_processed: int
    total_events: int
    done: bool


class Progress(Message):
    """The answer to the query `progress`.

    Attributes:
        status: Where the run is in its life.
        phase: What it is doing.
        events_processed: Events folded and committed; never goes down.
        total_events: Events known to be folded in all; never goes down.
        percent_complete: From 0 to 100; never goes down, 100 only when completed.
        events_per_second: Over the last seconds.
        estimated_seconds_remaining: None as long as nothing can be said.
        generation: The generation that is being written.
        partitions: The partitions, in order.
        updated_at: When these numbers were read from the database.
        note: Why it is done otherwise than one might expect; None when it is not.
        waiting_for: Who or what holds the run up right now; empty when nothing does.
        limits: Batch size, partitions at a time and events a second, as they are now; before the
            plan only those that it has been told.
        dead_letters: Poison events that are set aside in `generation`; unlike the others it goes
            down, too, as keys that were held are refolded.
        obstacles: What hangs on the live table now and would stop the swap, each with what to do
            about it; looked for every few seconds while a new table is made.
        failing: The last failure of a step that is being tried again; None when none is.
    """

    status: RunStatus
    phase: Phase
    events_processed: int = 0
    total_events: int = 0
    percent_complete: float = 0.0
    events_per_second: float = 0.0
    estimated_seconds_remaining: float | None = None
    generation: int | None = None
    partitions: list[PartitionProgress] = Field(default_factory=list)
    updated_at: datetime | None = None
    note: str | None = None
    waiting_for: list[str] = Field(default_factory=list)
    limits: Annotated[Limits | None, open_to_new(Limits)] = None
    dead_letters: int = 0
    obstacles: list[str] = Field(default_factory=list)
    failing: StepFailure | None = None


# -- activities ------------------------------------------------------------------------------


class BeginRun(Message):
    """Tells `begin_run` who asks for what."""

    run_id: str
    kind: str
    request: Annotated[BackfillRequest, open_to_new(BackfillRequest)]
    atomic: bool


class BeginRollback(Message):
    """Tells `begin_rollback` who asks for what."""

    run_id: str
    request: Annotated[RollbackRequest, open_to_new(RollbackRequest)]


class Plan(Message):
    """What a run is going to do; made once, kept in ``refold.runs``.

    Attributes:
        run_id: The run.
        projection: The projection.
        version: The projection's version that folds.
        generation: The generation that is written.
        atomic: Whether it is a shadow, to be swapped in.
        position: What is refolded reaches to here; the rest is followed. For a shadow it is the
            live table's checkpoint, where the two are compared.
        head: The settled head when the plan was made: what is followed reaches at least to here.
        partitions: How many slices to refold; 0 when everything is followed.
        max_concurrency: Partitions at a time.
        batch_size: Events in one transaction.
        total_events: Events to be refolded or followed, as of the plan.
        heartbeat_seconds: Silence after which an activity is given to another worker.
        swap_patience_seconds: How long the swap waits for what cannot move to be taken away.
        note: Why it is done otherwise than one might expect; None when it is not.
        restores: The generation stood live before: it is followed and swapped, never built.
        stale: It is swapped in at `position`, without the events since.
        copies: The generation whose rows and checkpoint the one that is written begins with; None
            when it does not begin as a copy.
        backup: The generation that holds what stood there before an in-place run; None for none.
        rollback_on_failure: Bring the backup back when the run does not complete.
        keep_backup: Keep the backup when the run completes.
        approval: Who decides that a new table goes live.
        max_changed_percent: See `refold.requests.BackfillRequest`.
        max_removed_rows: See `refold.requests.BackfillRequest`.
        selection: Which events name the keys that are repaired; None for all keys.
        selected_keys: How many keys these are; None for all.
        pacing: How fast it may go, and what it holds back for.
        poison: What is done with poison events.
    """

    run_id: str
    projection: str
    version: int
    generation: int
    atomic: bool
    position: int
    head: int
    partitions: int
    max_concurrency: int
    batch_size: int
    total_events: int
    heartbeat_seconds: float
    swap_patience_seconds: float = 900.0
    note: str | None = None
    restores: bool = False
    stale: bool = False
    copies: int | None = None
    backup: int | None = None
    rollback_on_failure: bool = False
    keep_backup: bool = False
    approval: Approval = Approval.AUTO
    max_changed_percent: float | None = None
    max_removed_rows: int | None = None
    selection: Selection | None = None
    selected_keys: int | None = None
    pacing: Annotated[Pacing, open_to_new(Pacing)] = Pacing()
    poison: Annotated[Poison, open_to_new(Poison)] = Poison()

    @property
    def retries_only(self) -> bool:
        """Whether it retries dead letters in the live table: new events are for others to apply."""
        selection = self.selection
        retries = selection is not None and selection.criteria is Criteria.DEAD_LETTERS
        return retries and not self.atomic

    @property
    def replaces_keys(self) -> bool:
        """Whether keys are refolded in a table that has rows: the live one, or a copy of it."""
        return not self.atomic or self.copies is not None

    def limits(self, controls: Controls) -> Limits:
        """The limits that the run goes by: what it has been told, else what was planned."""
        rate = controls.events_per_second
        return Limits(
            batch_size=controls.batch_size or self.batch_size,
            max_concurrency=controls.max_concurrency or self.max_concurrency,
            events_per_second=self.pacing.events_per_second if rate is None else rate,
        )

    def bringing_back(self) -> Plan:
        """The plan that puts the backup live again.

        Raises:
            ValueError: There is no backup.
        """
        if self.backup is None:
            raise ValueError("expected a plan with a backup")
        return self.model_copy(
            update={
                "generation": self.backup,
                "atomic": True,
                "restores": True,
                "partitions": 0,
                # Readers wait for it: it does not.
                "pacing": Pacing(),
            }
        )


class Planned(Message):
    """What the first activity of a run found out: for the next ones, and for people."""

    plan: Plan
    preview: Preview


class Continued(Message):
    """What a run carries over when it continues as new.

    Attributes:
        progress: How far it is.
        planned: Its plan, as soon as there is one.
        approved: Whether a person has let its new table go live.
        controls: What it has been told.
    """

    progress: Progress
    planned: Planned | None = None
    approved: bool = False
    controls: Controls = Controls()


class ControlRun(Message):
    """Tells `control_run` what a run has been told."""

    run_id: str
    controls: Controls


class RefoldSegment(Message):
    """Tells `refold_segment` which partition to go on with, and what it goes by."""

    plan: Plan
    partition: int
    controls: Controls = Controls()


class RefoldedSegment(Message):
    """What a refold segment did."""

    done: bool
    events: int
    batches: int


class ProgressReport(Message):
    """The run's counters, as committed; and why it holds back, if it does."""

    partitions: list[PartitionProgress]
    followed_events: int
    at: datetime
    holding: str | None = None
    dead_letters: int = 0

    @property
    def refolded(self) -> bool:
        """Whether there were partitions and all of them are done."""
        return bool(self.partitions) and all(p.done for p in self.partitions)


class FollowSegment(Message):
    """Tells `follow_segment` how far to go.

    Attributes:
        plan: The plan.
        to_live: Up to the live table's checkpoint, not to the head.
        controls: What it goes by.
    """

    plan: Plan
    to_live: bool = False
    controls: Controls = Controls()


class FollowedSegment(Message):
    """What a follow segment did.

    Attributes:
        caught_up: Whether the generation has reached the head, or the live table's checkpoint.
        position: Its checkpoint.
        head: What it goes for.
        report: The run's counters after it.
    """

    caught_up: bool
    position: int
    head: int
    report: ProgressReport


class WatchProgress(Message):
    """Tells `watch_progress` how long to look before it answers, in seconds."""

    run_id: str
    seconds: float
