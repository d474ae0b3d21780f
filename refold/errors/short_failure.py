"""The failure that leaves a worker: one sentence, without a trace."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.exceptions import TimeoutError as TimedOut

from refold.errors.words import shortened

TRANSIENT = "transient"
"""The key, in a failure's first detail, that is true when the same may work later."""


def is_transient(failure: BaseException | None) -> bool:
    """Whether what failed may work later though nobody mends anything.

    Args:
        failure: The cause of an activity's failure, or the failure of a workflow.
    """
    if not isinstance(failure, ApplicationError):
        return isinstance(failure, TimedOut)
    place = failure.details[0] if failure.details else None
    return isinstance(place, dict) and place.get(TRANSIENT) is True


class ShortFailure(ApplicationError):
    """What Temporal keeps of an error.

    Raise it ``from None``. The trace is in the worker's log: a server shows no failure above 4 kB.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str,  # noqa: A002
        non_retryable: bool,
        next_retry_delay: timedelta | None = None,
    ) -> None:
        super().__init__(
            shortened(message),
            *details,
            type=shortened(type, 200),
            non_retryable=non_retryable,
            next_retry_delay=next_retry_delay,
        )

    @property
    def __traceback__(self) -> TracebackType | None:
        """None, so that a failure that is made of it has no trace; the interpreter has its own."""
        return None

    @__traceback__.setter
    def __traceback__(self, trace: TracebackType | None) -> None: ...
