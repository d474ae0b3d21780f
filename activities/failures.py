"""One place that turns what activities raise into what Temporal does about it."""

from __future__ import annotations

from typing import Any

import asyncpg
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from refold.database import server_error
from refold.errors import HandlerOverdue, PoisonEvent, RefoldError

# The same statement will be refused again, however often it is tried.
_FINAL = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


def as_failure(error: Exception) -> Exception:
    """The error to raise from an activity: final ones are marked so, all others are retried."""
    if isinstance(error, RefoldError):
        # For whoever must know which event it was, without reading the message.
        details = [error.place] if isinstance(error, (HandlerOverdue, PoisonEvent)) else []
        return ApplicationError(
            str(error),
            *details,
            type=type(error).__name__,
            non_retryable=not error.retryable,
            next_retry_delay=error.retry_after,
        )
    refused = server_error(error)
    if isinstance(refused, _FINAL):
        detail = f" ({refused.detail})" if refused.detail else ""
        return ApplicationError(
            f"PostgreSQL refused a row of the read model: {refused}{detail}: check the handlers "
            "against the table's constraints",
            type="RowRejected",
            non_retryable=True,
        )
    return error


class FailureInterceptor(Interceptor):
    """Applies `as_failure` to every activity of a worker."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        try:
            return await super().execute_activity(input)
        except Exception as error:
            failure = as_failure(error)
            if failure is error:
                raise
            raise failure from error
