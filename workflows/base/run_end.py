"""The words for a run's end: what it failed at, and what became of undoing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from refold.errors import RESET
    from refold.errors.codes import CANCELLED
    from refold.errors.short_failure import ShortFailure, is_transient
    from refold.messages.run.endings import Finished, Why


@dataclass
class Undone:
    """Whether undoing a run has worked, in words, too."""

    done: bool
    said: str


def _cause_of(error: BaseException) -> BaseException:
    return error.cause if isinstance(error, ActivityError) and error.cause else error


def why_of(error: BaseException, said: str | None, *, cancelled: bool) -> Why:
    """Why a run ended as it did, for the record.

    Args:
        error: What it ended with.
        said: The same in a sentence, and what became of undoing it.
        cancelled: Whether it was cancelled.
    """
    cause = _cause_of(error)
    kind = CANCELLED if cancelled else getattr(cause, "type", None) or type(cause).__name__
    return Why(error=said or None, error_type=kind, is_transient=is_transient(cause))


def message_of(error: BaseException) -> str:
    """What an activity's own error says, rather than that the activity has failed."""
    cause = _cause_of(error)
    message = str(getattr(cause, "message", cause))
    if getattr(cause, "type", None) == "RunEnded" and _was_reset():
        return f"{message}; the workflow was reset after its end: {RESET}"
    return message


def require_not_reset(finished: Finished) -> None:
    """Fails a workflow that was reset and comes to the same bad end again: its run was over before.

    One that was reset and works on is refused by its first step.
    """
    if finished.ended_before is not None and _was_reset():
        raise ShortFailure(
            f"the run had ended before, as {finished.ended_before}; the workflow was reset after "
            f"its end: {RESET}",
            type="RunEnded",
            non_retryable=True,
        ) from None


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
