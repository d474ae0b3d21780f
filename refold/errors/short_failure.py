"""The failure that leaves a worker: one sentence, without a trace."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Any

from temporalio.exceptions import ApplicationError

from refold.errors.words import shortened


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
