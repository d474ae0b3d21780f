"""What activities raise: judged, told to their workflows while it is tried again, and logged."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from refold.activities.failures import as_failure
from refold.errors import PoisonEvent, RefoldError
from refold.errors.short_failure import ShortFailure
from refold.projection.columns.kind import WrongValue
from refold.projection.key import KeyDoesNotFit
from refold.runtime.judgement import Judgement, judge, traced
from refold.runtime.missing_rights import with_right_named
from refold.runtime.telemetry.metrics import ERROR_TYPE, FAILURES, RETRIES, STEP
from refold.worker.interceptors.attempts import Attempt, Attempts

logger = logging.getLogger(__name__)


class FailureInterceptor(Interceptor):
    """Judges what activities of a worker raise, and lets their workflows hear of what is retried.

    Failures are short; the trace is in this process's log.

    Args:
        engine: The database, which knows what right a role lacks.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._attempts = Attempts()
        sdk = logging.getLogger("temporalio.activity")
        if not any(isinstance(known, _ToldAlready) for known in sdk.filters):
            sdk.addFilter(_ToldAlready())

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        return _Inbound(next, self._attempts, self._engine)


class _Inbound(ActivityInboundInterceptor):
    def __init__(
        self,
        next: ActivityInboundInterceptor,  # noqa: A002
        attempts: Attempts,
        engine: AsyncEngine,
    ) -> None:
        super().__init__(next)
        self._attempts = attempts
        self._engine = engine

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        with self._attempts.attempt(input.args) as attempt:
            try:
                result = await super().execute_activity(input)
            except Exception as error:
                named = await with_right_named(self._engine, error)
                raise await _failed(attempt, named) from None
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
    about = {STEP: attempt.kind, ERROR_TYPE: failure.type or "unknown"}
    (FAILURES if failure.non_retryable else RETRIES).add(1, about)
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
