"""What crosses Temporal beside requests: results, progress, and what activities tell."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from refold.messages.base import Message, open_to_new
from refold.messages.run.controls import Controls
from refold.messages.run.plan import Plan, RunStep
from refold.messages.run.preview import Preview
from refold.messages.run.status import RunStatus
from refold.messages.step_failures import StepFailure
from refold.requests.limits import Limits
from refold.requests.runs import BackfillRequest, RollbackRequest

# -- results ---------------------------------------------------------------------------------


class Phase(StrEnum):
    """What a run is doing, in the order in which it does it."""

    PLANNING = "planning"
    KEYING = "computing keys"
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
        status: ``completed``, ``cancelled``, ``rolled_back`` or ``undone``; a failed run raises.
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
        obstacles: What is attached to the live table and would stop the swap, each with what to do
            about it; looked for every few seconds while a new table is made.
        failing: The last failure of a step that is being tried again; None when none is.
        keyed_events: Events whose keys are computed, where the key is a function; never goes down.
        events_to_key: Of how many.
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
    keyed_events: int = 0
    events_to_key: int = 0


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


class Continued(Message):
    """What a run carries over when it continues as new.

    Attributes:
        progress: How far it is.
        plan: Its plan, as soon as there is one.
        approved: Whether a person has let its new table go live.
        controls: What it has been told.
    """

    progress: Progress
    plan: Plan | None = None
    approved: bool = False
    controls: Controls = Controls()


class ControlRun(Message):
    """Tells `control_run` what a run has been told."""

    run_id: str
    controls: Controls


class ProgressReport(Message):
    """The run's counters, as committed; and why it holds back, if it does.

    Attributes:
        keyed_events: Events whose keys are computed, where the key is a function.
        keyed_slices: Slices of the log that are done with that.
    """

    partitions: list[PartitionProgress]
    followed_events: int
    at: datetime
    holding: str | None = None
    dead_letters: int = 0
    keyed_events: int = 0
    keyed_slices: int = 0

    @property
    def refolded(self) -> bool:
        """Whether there were partitions and all of them are done."""
        return bool(self.partitions) and all(p.done for p in self.partitions)


class RefoldSegment(RunStep):
    """Tells `refold_segment` which partition to go on with, and what it goes by."""

    partition: int
    controls: Controls = Controls()


class RefoldedSegment(Message):
    """What a refold segment did.

    Attributes:
        done: Whether all keys of the partition are done.
        events: Events folded and committed.
        batches: Batches committed.
        keys_lost: Nothing, as the keys that were computed first are gone: a crash of PostgreSQL
            empties their table.
        report: The run's counters, once all its partitions are done; None before.
        at_head: Whether, by then, there is nothing to follow either, in a table that is live.
    """

    done: bool
    events: int
    batches: int
    keys_lost: bool = False
    report: ProgressReport | None = None
    at_head: bool = False


class KeySegment(RunStep):
    """Tells `compute_keys` which slice of the log to go on with, and what it goes by."""

    slice: int
    controls: Controls = Controls()


class KeyedSegment(Message):
    """What `compute_keys` did."""

    done: bool
    events: int


class FollowSegment(RunStep):
    """Tells `follow_segment` how far to go.

    Attributes:
        to_live: Up to the live table's checkpoint, not to the head.
        controls: What it goes by.
        awaiting: Why a person is asked meanwhile whether the run goes live; empty when nobody is.
    """

    to_live: bool = False
    controls: Controls = Controls()
    awaiting: tuple[str, ...] = ()


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
    """Tells `watch_progress` how long to look before it answers, in seconds.

    Attributes:
        run_id: The run.
        seconds: How long.
        key_slices: Answer at once when so many slices have their keys; 0 when partitions are
            watched.
    """

    run_id: str
    seconds: float
    key_slices: int = 0
