"""The one place that turns an error of an activity into a failure that Temporal understands."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from refold.errors import HandlerOverdue, PoisonEvent, ProjectionBusy, RefoldError
from refold.errors.short_failure import TRANSIENT, ShortFailure
from refold.runtime.database import server_error
from refold.runtime.judgement import Judgement, is_refused_row, judge, may_pass, told

_PLACED = (HandlerOverdue, PoisonEvent, ProjectionBusy)


def as_failure(error: Exception, given_up: str | None = None) -> ShortFailure:
    """The error to raise from an activity, ``from None``: short, and final or not.

    Args:
        error: What was raised.
        given_up: Why the step is not tried again though the error might pass; None to go by the
            error's judgement.
    """
    final = given_up is not None or judge(error) is Judgement.FINAL
    # The place of the event, or the other run, for a reader that does not parse the message.
    details = [error.place] if isinstance(error, _PLACED) else []
    if isinstance(error, ApplicationError):
        details = list(error.details)
    elif may_pass(error):
        details = [{**place, TRANSIENT: True} for place in details or [{}]]
    message = told(error) + (f" ({given_up})" if given_up else "")
    return ShortFailure(
        message,
        *details,
        type=failure_type(error),
        non_retryable=final,
        next_retry_delay=getattr(error, "retry_after", None),
    )


def failure_type(error: Exception) -> str:
    """What Temporal calls the error."""
    if isinstance(error, ApplicationError) and error.type:
        return error.type
    if not isinstance(error, RefoldError):
        if is_refused_row(error):
            return "RowRejected"
        return type(server_error(error) or error).__name__
    return type(error).__name__
