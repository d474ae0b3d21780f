"""Stable codes of errors: for programs, which must not read messages. docs/errors.md lists them.

A code means the same for ever; one that is not used any more is not given again. The first digit
says where to look: 1 settings and declarations, 2 what was asked for, 3 events and people's code,
4 rows, 5 runs and workers, 9 what is not Refold's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

UNLISTED = "RF900"
"""The code of what is not Refold's own: of PostgreSQL, a driver, a library, the system."""

CANCELLED = "Cancelled"
"""What the end of a run that was cancelled is called where errors have a type."""

REFUSALS = frozenset(
    {"InvalidRequest", "NoSnapshot", "ProjectionBusy", "SwapRefused", "UnknownProjection"}
)
"""What says of a request that it cannot be carried out as it stands: nothing has been begun."""

CODES: Mapping[str, str] = MappingProxyType(
    {
        "ConfigurationError": "RF101",
        "NotMigrated": "RF102",
        "TemporalUnreachable": "RF103",
        "InvalidProjection": "RF104",
        "UnknownProjection": "RF105",
        "UnknownMirror": "RF106",
        "EventsUnreachable": "RF107",
        "UnreadablePayload": "RF108",
        "InvalidRequest": "RF201",
        "ProjectionBusy": "RF202",
        "NoSnapshot": "RF203",
        "NoSchedule": "RF204",
        "ScheduleExists": "RF205",
        "SwapRefused": "RF206",
        "NoRun": "RF207",
        "NotAwaited": "RF208",
        "NotLive": "RF209",
        "MirrorBusy": "RF210",
        "PoisonEvent": "RF301",
        "HandlerOverdue": "RF302",
        "NoThreadLeft": "RF303",
        "PredicateFailed": "RF304",
        "UnreadableEvent": "RF305",
        "WrongExpectedVersion": "RF306",
        "InvalidEventFile": "RF307",
        "UnexpectedVersion": "RF312",
        "UnreadableEventFile": "RF308",
        "AlreadyImported": "RF309",
        "ImportConflict": "RF310",
        "UnreadableSystemEvent": "RF311",
        "MirrorConflict": "RF313",
        "RowRejected": "RF401",
        "TargetBehind": "RF402",
        "VerificationFailed": "RF403",
        "SnapshotRejected": "RF404",
        "RunEnded": "RF501",
        "VersionChanged": "RF502",
        "Fenced": "RF503",
        "NotDeployed": "RF504",
        "NotOnThisWorker": "RF505",
        "NotOnAnyWorker": "RF506",
        "MissingRight": "RF507",
        "NotBroughtBack": "RF508",
        "CannotEnd": "RF509",
        CANCELLED: "RF510",
        "WorkerEnded": "RF511",
        "CheckpointStoreFailed": "RF512",
        "CheckpointLost": "RF513",
        "MirrorSourceFailed": "RF514",
        "MirrorNotHere": "RF515",
        "WorkerProcessesEnded": "RF516",
        "RightDenied": "RF517",
    }
)
"""The code of each type of error, by the type's name, as failures and system events have it."""


def code_of(error_type: str) -> str:
    """The stable code of a type of error; `UNLISTED` for one that is not Refold's own."""
    return CODES.get(error_type, UNLISTED)
