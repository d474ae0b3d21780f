"""One place that turns what activities raise into what Temporal does about it."""

from __future__ import annotations

import logging
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from activities.attempts import Attempt, Attempts
from refold.columns.kind import WrongValue
from refold.database import server_error
from refold.errors import HandlerOverdue, PoisonEvent, RefoldError
from refold.judgement import Judgement, is_refused_row, judge, told, traced
from refold.key import KeyDoesNotFit
from refold.short_failure import ShortFailure

logger = logging.getLogger(__name__)


def as_failure(error: Exception, given_up: str | None = None) -> ShortFailure:
    """The error to raise from an activity, ``from None``: short, and final or not.

    Args:
        error: What was raised.
        given_up: Why it is not tried again though it might pass; None to go by its judgement.
    """
    final = given_up is not None or judge(error) is Judgement.FINAL
    # For whoever must know which event it was, without reading the message.
    details = [error.place] if isinstance(error, (HandlerOverdue, PoisonEvent)) else []
    if isinstance(error, ApplicationError):
        details = list(error.details)
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


class FailureInterceptor(Interceptor):
    """Judges what activities of a worker raise, and lets their workflows hear of what is retried.

    Failures are short; the trace is in this process's log.
    """

    def __init__(self) -> None:
        self._attempts = Attempts()
        sdk = logging.getLogger("temporalio.activity")
        if not any(isinstance(known, _ToldAlready) for known in sdk.filters):
            sdk.addFilter(_ToldAlready())

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        return _Inbound(next, self._attempts)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, attempts: Attempts) -> None:  # noqa: A002
        super().__init__(next)
        self._attempts = attempts

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        with self._attempts.attempt(input.args) as attempt:
            try:
                result = await super().execute_activity(input)
            except Exception as error:
                raise await _failed(attempt, error) from None
            attempt.worked()
            return result


async def _failed(attempt: Attempt, error: Exception) -> ShortFailure:
    judgement = judge(error)
    given_up = attempt.count_unknown() if judgement is Judgement.UNKNOWN else None
    failure = as_failure(error, given_up)
    news = attempt.is_news(failure)
    raised = _raised(error)
    # Where it was raised says nothing of what passes; what comes again and again is there already.
    wanted = news and judgement is not Judgement.PASSING and raised is not None
    trace = f"\n{traced(raised)}" if wanted and raised is not None else ""
    logger.warning("%s: %s%s", attempt.step, failure.message, trace)
    if failure.non_retryable:
        attempt.worked()
    else:
        await attempt.report(failure)
    return failure


def _raised(error: Exception) -> BaseException | None:
    """What has a trace worth reading; of a poison event what people's own code raised."""
    if isinstance(error, PoisonEvent):
        cause = error.__cause__
        return None if isinstance(cause, (WrongValue, KeyDoesNotFit)) else cause
    return None if isinstance(error, RefoldError) else error


class _ToldAlready(logging.Filter):
    """Drops what the SDK says of a failure that is in the log: a trace of the SDK's own lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ShortFailure))
