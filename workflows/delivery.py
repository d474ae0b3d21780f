"""SystemEvents: one handler is given one projection's system events, until none is left."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from refold.workflows.base.step_listener import StepListener
from refold.workflows.base.steps import heed_cancellation, step

with workflow.unsafe.imports_passed_through():
    from refold.activities.delivery import UNKNOWN_HANDLER, DeliveryActivities
    from refold.errors import InvalidRequest
    from refold.errors.short_failure import ShortFailure
    from refold.messages.deliveries import (
        Delivery,
        DeliveryRequest,
        FailedDelivery,
        FindDeliveries,
        NextDeliveries,
    )
    from refold.messages.markdown import escaped
    from refold.requests.fairness import fairness_key
    from refold.requests.validation import accept_request

_LONGEST = timedelta(minutes=10)
_PAUSE = timedelta(minutes=1)

# A step that a worker lacks the handler for is left to others for a minute or so.
_LEFT_FOR, _LEFT_AT_MOST = timedelta(seconds=1), 60


class _NotHere(Exception):
    """The worker that was asked does not have the handler."""


def _is_unknown_handler(error: ActivityError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.type == UNKNOWN_HANDLER


@workflow.defn(name="SystemEvents")
class SystemEvents(StepListener):
    """Gives system events to a handler, in order; a worker starts it when there are any."""

    def __init__(self) -> None:
        super().__init__()
        self._fairness_key: str | None = None
        self._title = "SystemEvents"
        self._left = 0

    def _heard(self) -> None:
        failing = self._failures.latest
        lines = [f"### {self._title}"]
        if failing is not None:
            lines += ["", escaped(str(failing))]
        workflow.set_current_details("\n".join(lines))

    @property
    def fairness_key(self) -> str | None:
        """With whom its activities take turns; None until the request is accepted."""
        return self._fairness_key

    @workflow.run
    async def run(self, *inputs: Any) -> int:
        """Takes one `DeliveryRequest`; returns how many events the handler has taken."""
        try:
            continued = workflow.info().continued_run_id is not None
            request = accept_request(inputs[:1] if continued else inputs, DeliveryRequest)
        except InvalidRequest as error:
            raise ShortFailure(str(error), type="InvalidRequest", non_retryable=True) from None
        self._fairness_key = fairness_key(request.projection)
        self._title = escaped(f"system events of {request.projection} for {request.handler}")
        taken = inputs[1] if len(inputs) > 1 else 0
        # A worker of other code has got the step: a worker that knows the handler begins anew.
        with suppress(_NotHere):
            while (due := await self._next(request)).numbers:
                for number in due.numbers:
                    taken += await self._deliver(request, number, due.max_attempts)
                    heed_cancellation()
                if workflow.info().is_continue_as_new_suggested():
                    workflow.continue_as_new(args=[inputs[0], taken])
        return int(taken)

    async def _next(self, request: DeliveryRequest) -> NextDeliveries:
        find = FindDeliveries(projection=request.projection, handler=request.handler)
        while True:
            try:
                return await workflow.execute_activity_method(
                    DeliveryActivities.next_deliveries, find, summary="what is next", **step()
                )
            except ActivityError as error:
                if not _is_unknown_handler(error):
                    if not is_cancelled_exception(error):
                        # A worker begins anew once this has ended: the pause keeps that rare.
                        await workflow.sleep(_PAUSE, summary="events cannot be read")
                    raise
                await self._leave_to_another(error)

    async def _deliver(self, request: DeliveryRequest, number: int, attempts: int) -> int:
        """Returns 1 when the handler has taken the event, 0 when the event is given up."""
        delivery = Delivery(projection=request.projection, handler=request.handler, number=number)
        options = step(longest=_LONGEST)
        # With ten attempts some ten minutes in all; until then the handler's later events wait.
        options["retry_policy"] = RetryPolicy(
            initial_interval=timedelta(seconds=1),
            backoff_coefficient=2.0,
            maximum_interval=timedelta(minutes=5),
            maximum_attempts=attempts,
        )
        while True:
            try:
                await workflow.execute_activity_method(
                    DeliveryActivities.handle_system_event,
                    delivery,
                    summary=f"system event {number}",
                    **options,
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                if _is_unknown_handler(error):
                    await self._leave_to_another(error)
                    continue
                await workflow.execute_activity_method(
                    DeliveryActivities.give_up_delivery,
                    FailedDelivery(delivery=delivery, error=str(error.cause)),
                    summary=f"give up system event {number}",
                    **step(),
                )
                return 0
            self._left = 0
            return 1

    async def _leave_to_another(self, error: ActivityError) -> None:
        """Lets another worker take the step; a worker that has the handler begins anew at last.

        It counts as no attempt: the handler has not been called.
        """
        self._left += 1
        if self._left > _LEFT_AT_MOST or not workflow.patched("left-to-another"):
            raise _NotHere from error
        await workflow.sleep(_LEFT_FOR, summary="left to a worker that has the handler")
