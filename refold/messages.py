"""All that crosses Temporal: requests, results, and what activities are told and tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from refold.errors import InvalidRequest
from refold.policy import BatchSize, Concurrency


class Message(BaseModel):
    """Base of what crosses Temporal: immutable, and strict about its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# -- requests --------------------------------------------------------------------------------


class Criteria(StrEnum):
    """What a backfill selects to repair."""

    FULL_REBUILD = "full_rebuild"
    INCREMENTAL_UPDATE = "incremental_update"


class BackfillRequest(Message):
    """What `Backfill` and `Rebuild` are started with: one JSON object.

    Attributes:
        projection: The projection's name.
        criteria: What to repair; ``full_rebuild`` when left out.
        is_atomic: Build a new table aside and swap it in; `Rebuild` always does.
        batch_size: Events in one transaction; the projection's own when left out.
        max_concurrency: Partitions at a time; the projection's own when left out.
        requested_by: Who asks, for the record.
    """

    projection: str
    criteria: Criteria | None = None
    is_atomic: bool | None = None
    batch_size: BatchSize | None = None
    max_concurrency: Concurrency | None = None
    requested_by: str | None = None


_EXAMPLE = '{"projection": "order-summary"}'


def accept_request(inputs: Sequence[Any]) -> BackfillRequest:
    """The request among a workflow's arguments, as they came from whatever started it.

    Raises:
        InvalidRequest: There is not exactly one argument, or it is not a request; the message
            names each field with what was expected and what came.
    """
    if len(inputs) != 1:
        got = f"{len(inputs)} arguments" if inputs else "no input"
        raise InvalidRequest(f"input: expected one JSON object such as {_EXAMPLE}, got {got}")
    try:
        return BackfillRequest.model_validate(inputs[0])
    except ValidationError as error:
        raise InvalidRequest(_describe(error)) from None


def _describe(error: ValidationError) -> str:
    accepted = ", ".join(BackfillRequest.model_fields)
    sentences = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            sentences.append(f"{field}: required, such as {_EXAMPLE}")
        elif problem["type"] == "extra_forbidden":
            sentences.append(f"{field}: not a field of the request; accepted: {accepted}")
        elif not field:
            sentences.append(
                f"input: expected one JSON object such as {_EXAMPLE}, got {problem['input']!r:.100}"
            )
        else:
            sentences.append(f"{field}: {problem['msg']}, got {problem['input']!r:.100}")
    return "invalid request: " + "; ".join(sentences)


# -- results ---------------------------------------------------------------------------------


class RunStatus(StrEnum):
    """Where a run is in its life; ``-ing`` is asked for, ``-ed`` is settled."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (RunStatus.CANCELLED, RunStatus.COMPLETED, RunStatus.FAILED)


class Phase(StrEnum):
    """What a run is doing, in the order in which it does it."""

    PLANNING = "planning"
    REFOLDING = "refolding"
    INDEXING = "indexing"
    FOLLOWING = "following"
    ANALYZING = "analyzing"
    SWAPPING = "swapping"
    CLEANING_UP = "cleaning up"
    DONE = "done"


class BackfillResult(Message):
    """How a run ended.

    Attributes:
        status: ``completed`` or ``cancelled``; a failed run raises instead.
        projection: The projection.
        run_id: The run, as in ``refold.runs``.
        generation: The generation that readers query now; None when nothing was changed.
        position: Its checkpoint at the end.
        events_processed: Events folded, counting each once.
        reason: Why it was cancelled, if anybody said.
    """

    status: RunStatus
    projection: str
    run_id: str
    generation: int | None = None
    position: int | None = None
    events_processed: int = 0
    reason: str | None = None


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


# -- activities ------------------------------------------------------------------------------


class BeginRun(Message):
    """Tells `begin_run` who asks for what."""

    run_id: str
    kind: str
    request: BackfillRequest
    atomic: bool


class Plan(Message):
    """What a run is going to do; made once, kept in ``refold.runs``.

    Attributes:
        run_id: The run.
        projection: The projection.
        version: The projection's version that folds.
        generation: The generation that is written.
        atomic: Whether it is a shadow, to be swapped in.
        position: The head when the plan was made: what is refolded reaches at least to here.
        partitions: How many slices to refold; 0 when everything is followed.
        max_concurrency: Partitions at a time.
        batch_size: Events in one transaction.
        total_events: Events to be refolded or followed, as of the plan.
        heartbeat_seconds: Silence after which an activity is given to another worker.
        note: Why it is done otherwise than one might expect; None when it is not.
    """

    run_id: str
    projection: str
    version: int
    generation: int
    atomic: bool
    position: int
    partitions: int
    max_concurrency: int
    batch_size: int
    total_events: int
    heartbeat_seconds: float
    note: str | None = None


class RefoldSegment(Message):
    """Tells `refold_segment` which partition to go on with."""

    plan: Plan
    partition: int


class RefoldedSegment(Message):
    """What a refold segment did."""

    done: bool
    events: int
    batches: int


class ProgressReport(Message):
    """The run's counters, as committed."""

    partitions: list[PartitionProgress]
    followed_events: int
    at: datetime

    @property
    def refolded(self) -> bool:
        """Whether there were partitions and all of them are done."""
        return bool(self.partitions) and all(p.done for p in self.partitions)


class FollowedSegment(Message):
    """What a follow segment did.

    Attributes:
        caught_up: Whether the generation has reached the head.
        position: Its checkpoint.
        head: The settled head.
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


class Swapped(Message):
    """What a swap did."""

    generation: int
    retained_generation: int | None
    position: int


class FinishRun(Message):
    """Tells `finish_run` how a run ended."""

    run_id: str
    projection: str
    status: RunStatus
    error: str | None = None


class Finished(Message):
    """What `finish_run` found at the end."""

    generation: int | None
    position: int | None
    report: ProgressReport | None
