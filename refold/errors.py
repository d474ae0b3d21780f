"""What can go wrong, by name. Each message says what was expected, what came, what to do next.

RefoldError
├── ConfigurationError      settings that cannot work
├── TemporalUnreachable     the Temporal server does not answer (now)
├── NotMigrated             the database lacks Refold's schema, or has an older one
├── InvalidProjection       a projection is declared wrongly
├── UnknownProjection       no projection of that name is registered
├── InvalidRequest          a request that can never be carried out as it stands
├── NoSnapshot              a projection has no snapshot of that number, or none at all
├── NoSchedule              no schedule of that id starts runs
├── ScheduleExists          there is a schedule of that id
├── ProjectionBusy          another run is writing the same projection
├── SwapRefused             something hangs on the live table that a swap would break
├── VerificationFailed      a shadow whose rows are not the fold of their events
├── PoisonEvent             an event that the projection's code cannot take
├── HandlerOverdue          an event that the projection's code does not come to an end with
├── NoThreadLeft            too many threads of this worker do not come back from people's code
├── PredicateFailed         an event for which a predicate cannot be worked out
├── UnreadableEvent         an event whose JSON or time Python cannot hold
├── RowRejected             the database refuses a row that the handlers made
├── TargetBehind            a row refers to one of a read model that is behind (now)
├── WrongExpectedVersion    an append to a stream that has moved on
├── InvalidEventFile        an event file with a line that is not an event
├── UnreadableEventFile     an event file that cannot be opened or unpacked (source/event_lines)
├── AlreadyImported         an event file whose content was imported before (source/imports)
├── ImportConflict          another writer appended to the same streams (source/importer)
├── RunFailed, NoRun, AlreadyRunning   what a manager's run came to (manager, run_manager)
├── RunEnded                the run was ended from outside; its work is gone
├── NotDeployed             a worker without the version that builds itself (another one has it)
├── MissingRight            a stopped worker's session that this worker's role may not end
├── NotOnThisWorker         a worker without the projection or version (another one may have it)
├── NotOnAnyWorker          none of the workers had it, for long enough
├── VersionChanged          another version of the projection was deployed during the run
└── Fenced                  another attempt has taken over this work

Retried are TemporalUnreachable, TargetBehind, NoThreadLeft, NotDeployed, MissingRight,
NotOnThisWorker and Fenced; all others are final.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from refold.event import Event
from refold.words import shortened

# Characters of types and streams, which are as long as their writers like, and of reasons.
_NAME, _REASON = 200, 1_000


class RefoldError(Exception):
    """Base of all errors that Refold raises on purpose. Final unless its class says otherwise."""

    retryable = False
    retry_after: timedelta | None = None
    """When it is tried again, if sooner or later than others."""


class ConfigurationError(RefoldError):
    """A setting is missing or cannot work."""


class TemporalUnreachable(RefoldError):
    """The Temporal server does not answer; it may later."""

    retryable = True


class NotMigrated(RefoldError):
    """The database does not have the schema ``refold`` that this version needs."""


class InvalidProjection(RefoldError):
    """A projection is declared in a way that cannot work."""


class UnknownProjection(RefoldError):
    """No projection of that name is registered with this worker."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        accepted = ", ".join(sorted(known)) or "none: REFOLD_PROJECTIONS names no projection"
        super().__init__(f"projection: expected one of ({accepted}), got {name!r}")


class InvalidRequest(RefoldError):
    """A request names a field or value that is not accepted."""


class NoSnapshot(RefoldError):
    """A snapshot that is not there."""

    def __init__(self, projection: str, there: Sequence[int], generation: int | None) -> None:
        known = ", ".join(str(number) for number in there) or "none"
        got = "" if generation is None else f", got {generation}"
        super().__init__(
            f"projection {projection!r}: expected the generation of a snapshot, there are "
            f"({known}){got}: `refold snapshots create {projection}` makes one"
        )


class NoSchedule(RefoldError):
    """A schedule that is not there, or does not start runs."""

    def __init__(self, schedule_id: str, there: Sequence[str]) -> None:
        known = ", ".join(there) or "none"
        super().__init__(
            f"schedule: expected the id of one that starts runs, there are ({known}), got "
            f"{schedule_id!r}: `refold schedule list` shows them"
        )


class ScheduleExists(RefoldError):
    """A schedule of the same id is there."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(
            f"schedule: expected a new id, {schedule_id!r} is there: give another one, or remove "
            f"it with `refold schedule remove {schedule_id}`"
        )


class ProjectionBusy(RefoldError):
    """Another run holds the projection; two writers on one read model are refused."""

    def __init__(
        self,
        projection: str,
        workflow_id: str,
        run_id: str,
        since: str,
        *,
        namespace: str | None = None,
        silent_since: str | None = None,
    ) -> None:
        """Args: the namespace only of a run of another installation; its silence only if long."""
        self.workflow_id = workflow_id
        self.run_id = run_id
        place = "" if namespace is None else f" of another installation, namespace {namespace!r},"
        silence = "" if silent_since is None else f", silent since {silent_since}"
        there = "it" if namespace is None else "it there"
        gone = ""
        if namespace is not None:
            gone = (
                "; if that installation is gone for good, "
                f"`refold release {projection} --run {run_id}` ends it"
            )
        super().__init__(
            f"projection {projection!r} is being written by workflow {workflow_id!r} "
            f"(run {run_id}){place} since {since}{silence}: wait until it ends, or cancel "
            f"{there}{gone}"
        )


class SwapRefused(RefoldError):
    """The live table has something attached that a swap would lose or break."""


class VerificationFailed(RefoldError):
    """A key that is folded again gives another row than the one that was built."""


class PoisonEvent(RefoldError):
    """An event that a handler or a key cannot take.

    Type, stream and reason are shortened: it goes into histories and logs. The position is exact.
    """

    def __init__(
        self, projection: str, position: int, event_type: str, stream_id: str, reason: str
    ) -> None:
        self.projection = projection
        self.position = position
        self.event_type = shortened(event_type, _NAME)
        self.stream_id = shortened(stream_id, _NAME)
        self.reason = shortened(reason, _REASON)
        super().__init__(
            f"projection {projection!r} cannot take event {position} "
            f"({self.event_type} of stream {self.stream_id!r}): {self.reason}"
        )

    @property
    def place(self) -> dict[str, Any]:
        """Which event it is, as JSON has it."""
        return {
            "position": self.position,
            "event_type": self.event_type,
            "stream_id": self.stream_id,
        }


class HandlerOverdue(RefoldError):
    """A call of people's code that does not return in time."""

    def __init__(
        self,
        projection: str,
        position: int,
        event_type: str,
        stream_id: str,
        *,
        seconds: float,
        where: str,
    ) -> None:
        self.position = position
        self.event_type = shortened(event_type, _NAME)
        self.stream_id = shortened(stream_id, _NAME)
        self.where = where
        super().__init__(
            f"projection {projection!r} does not come to an end with event {position} "
            f"({self.event_type} of stream {self.stream_id!r}): expected each call of a handler, "
            f"of a key function and of a predicate to return within {seconds:g} s, one stands at "
            f"{where}: mend it, or set REFOLD_HANDLER_SECONDS higher"
        )

    @classmethod
    def of(cls, projection: str, event: Event, seconds: float, where: str) -> HandlerOverdue:
        """The error for an event."""
        return cls(
            projection,
            event.position,
            event.type,
            event.stream_id,
            seconds=seconds,
            where=where,
        )

    @property
    def place(self) -> dict[str, Any]:
        """Which event it is, as JSON has it."""
        return {
            "position": self.position,
            "event_type": self.event_type,
            "stream_id": self.stream_id,
        }


class HandlerInterrupted(BaseException):
    """Raised in a thread whose call of people's code is overdue: nobody is to catch it."""


class NoThreadLeft(RefoldError):
    """Too many threads of this worker are in people's code that does not return."""

    retryable = True

    def __init__(self, left: int) -> None:
        super().__init__(
            f"this worker has {left} threads in people's code that does not return, and begins no "
            "other: its log says where they stand; mend that, and start the worker again"
        )


class PredicateFailed(RefoldError):
    """An event for which a predicate is neither true nor false."""

    def __init__(
        self, predicate: str, position: int, event_type: str, stream_id: str, reason: str
    ) -> None:
        self.predicate = predicate
        self.position = position
        self.event_type = shortened(event_type, _NAME)
        self.stream_id = shortened(stream_id, _NAME)
        self.reason = shortened(reason, _REASON)
        shown = predicate if len(predicate) <= 200 else f"{predicate[:200]}…"
        super().__init__(
            f"predicate {shown!r} fails for event {position} "
            f"({self.event_type} of stream {self.stream_id!r}): {self.reason}"
        )

    @classmethod
    def of(cls, predicate: str, event: Event, reason: str) -> PredicateFailed:
        """The error for an event."""
        return cls(predicate, event.position, event.type, event.stream_id, reason)


class UnreadableEvent(RefoldError):
    """An event's JSON or time cannot be decoded."""

    @classmethod
    def timed(cls, position: int, at: str) -> UnreadableEvent:
        """The error for an event that was recorded at a time which Python does not have."""
        return cls(
            f"event {position}: expected a recorded_at from the year 1 to 9999, got {at!r}: no "
            "handler can be given it"
        )


class RowRejected(RefoldError):
    """The database refused a row, for instance by a check constraint of the read model."""


class TargetBehind(RefoldError):
    """A row refers to one of another read model that has not come as far; it may soon."""

    retryable = True

    def __init__(self, projection: str, position: int, other: str, reached: int) -> None:
        self.position = position
        self.other = other
        self.reached = reached
        self.waits_for = (
            f"{other!r}, which is joined to it by a foreign key and is at {reached}: start "
            f"{other!r}, or backfill it with --incremental"
        )
        super().__init__(
            f"projection {projection!r} waits at event {position} for {self.waits_for}"
        )


class WrongExpectedVersion(RefoldError):
    """An append expected its stream at another version than it is."""

    def __init__(self, stream_id: str, expected: int, actual: int) -> None:
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"stream {stream_id!r}: expected version {expected}, actual version {actual}: "
            "read the stream again and decide anew"
        )


class InvalidEventFile(RefoldError):
    """A line of an event file is not an event; nothing was imported."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {reason}; nothing was imported")


RESET = "a reset does not bring a run back, start a new one"
"""What is said of a workflow that was reset after its run had ended."""


class RunEnded(RefoldError):
    """The run's lease, partitions or generation are gone: it was ended from outside."""


class VersionChanged(RefoldError):
    """The run was planned for another version of the projection than this worker has."""


class NotDeployed(RefoldError):
    """This worker does not have the version that is to be built; another one does."""

    retryable = True

    def __init__(self, projection: str, wanted: int, known: int) -> None:
        here = f"version {known} at most" if known else "no version of it"
        super().__init__(
            f"projection {projection!r}: version {wanted} is to be built, this worker has {here}: "
            "it is left to a worker of newer code; cancel the run if there is to be none"
        )


class MissingRight(RefoldError):
    """This role may not do what only another one may; it can be granted while this is retried."""

    retryable = True


class NotOnThisWorker(RefoldError):
    """This worker lacks a projection, or a version of it, that another one may have."""

    retryable = True
    # Whoever asks for work next may be the same worker again.
    retry_after = timedelta(milliseconds=500)

    def __init__(
        self,
        worker: str,
        projection: str,
        version: int | None,
        *,
        has: str,
        others: Sequence[str],
        until: str,
    ) -> None:
        what = f"projection {projection!r}"
        if version is not None:
            what = f"version {version} of {what}"
        there = f"workers that have it: {', '.join(others)}; " if others else ""
        super().__init__(
            f"worker {worker} does not have {what} (it has {has}): {there}the step is left to one "
            f"that does until {until}: start one, or cancel"
        )


class NotOnAnyWorker(RefoldError):
    """A step has been left to other workers for so long that none can be expected any more."""


class Fenced(RefoldError):
    """Another attempt has taken over; this one must stop and change nothing more."""

    retryable = True
