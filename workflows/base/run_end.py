"""The words for a run's end: what it failed at, and what became of undoing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from refold.errors import RESET
    from refold.errors.short_failure import ShortFailure


@dataclass
class Undone:
    """Whether undoing a run has worked, in words, too."""

    done: bool
    said: str


def message_of(error: BaseException) -> str:
    """What an activity's own error says, rather than that the activity has failed."""
    cause = error.cause if isinstance(error, ActivityError) and error.cause else error
    message = str(getattr(cause, "message", cause))
    if getattr(cause, "type", None) == "RunEnded" and _was_reset():
        return f"{message}; the workflow was reset after its end: {RESET}"
    return message


def has_ended(error: ActivityError) -> bool:
    """Whether the run was ended from outside."""
    return getattr(error.cause, "type", None) == "RunEnded"


def _was_reset() -> bool:
    info = workflow.info()
    return info.original_execution_run_id != info.run_id


def fail(error: BaseException, undone: Undone | None) -> NoReturn:
    """Fails the workflow with the activity's own words, which is what people look for."""
    if isinstance(error, ActivityError) and isinstance(error.cause, ApplicationError):
        cause = error.cause
        message = message_of(error)
        if undone is not None:
            message = f"{message}; {undone.said}"
        raise ShortFailure(
            message, *cause.details, type=cause.type or "Failed", non_retryable=True
        ) from None
    raise error
