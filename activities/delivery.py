"""Giving system events to their handlers: in order, each at least once."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from refold.activities.heartbeat import heartbeating
from refold.errors.words import raised
from refold.messages.deliveries import Delivery, FailedDelivery, FindDeliveries, NextDeliveries
from refold.messages.recorded_event import RecordedEvent
from refold.projection.registry import Registry
from refold.runtime.judgement import told, traced
from refold.runtime.threads import in_thread
from refold.store import deliveries, system_events
from refold.system_events.events import SystemEvent, SystemHandlerFailed
from refold.system_events.handlers import SystemEventContext, SystemHandler
from refold.system_events.known import as_event

logger = logging.getLogger(__name__)

UNKNOWN_HANDLER = "UnknownHandler"
"""The type of the failure of a worker that does not have the handler."""

Publish = Callable[[SystemEvent, str], Awaitable[str]]
"""Publishes an event under a key, once; returns its correlation id."""

# How many events one look hands to the workflow, by number.
_AT_A_TIME = 20


class DeliveryActivities:
    """The activities that give system events to handlers.

    Args:
        engine: The database.
        registry: The handlers.
        publish: Publishes what handlers want published.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, publish: Publish) -> None:
        self._engine = engine
        self._registry = registry
        self._publish = publish

    @activity.defn
    async def next_deliveries(self, find: FindDeliveries) -> NextDeliveries:
        """Which events the handler is to be given next.

        Raises:
            ApplicationError: The handler is not registered (any more).
        """
        handler = self._handler(find.projection, find.handler)
        async with self._engine.begin() as connection:
            after = await deliveries.delivered(connection, find.projection, handler.name)
            numbers = []
            if after is not None:
                numbers = await system_events.next_of_types(
                    connection,
                    find.projection,
                    list(handler.types),
                    after=after,
                    limit=_AT_A_TIME,
                )
        return NextDeliveries(numbers=numbers, max_attempts=handler.max_attempts)

    @activity.defn
    async def handle_system_event(self, delivery: Delivery) -> None:
        """Runs a handler with an event, and records that the handler has had it.

        If the handler raises, Temporal tries again after a pause that grows each time.
        """
        handler = self._handler(delivery.projection, delivery.handler)
        async with heartbeating(self._engine, activity.info().workflow_run_id or ""):
            async with self._engine.connect() as connection:
                recorded = await system_events.get(connection, delivery.projection, delivery.number)
            if recorded is not None:
                event = _typed(recorded, handler)
                context = _Context(
                    id=recorded.id,
                    recorded_at=recorded.recorded_at,
                    correlation_id=recorded.correlation_id,
                    retry_attempt=getattr(event, "retry_attempt", 0),
                    delivery_attempt=activity.info().attempt,
                    take=self._publish,
                    handler=handler.name,
                )
                await _called(handler, event, context)
            async with self._engine.begin() as connection:
                await deliveries.advance(
                    connection, delivery.projection, handler.name, delivery.number
                )

    @activity.defn
    async def give_up_delivery(self, failed: FailedDelivery) -> None:
        """Records that a handler could not take an event, and lets it go on with the next."""
        delivery = failed.delivery
        event = SystemHandlerFailed(
            projection=delivery.projection,
            handler=delivery.handler,
            number=delivery.number,
            error=failed.error,
        )
        async with self._engine.begin() as connection:
            given = await system_events.get(connection, delivery.projection, delivery.number)
            await deliveries.advance(
                connection, delivery.projection, delivery.handler, delivery.number
            )
            if given is not None and given.type == SystemHandlerFailed.__name__:
                # It would be given that again, and again.
                logger.warning("%s cannot take %s: %s", delivery.handler, given.id, failed.error)
                return
            key = f"{delivery.handler}/{delivery.number}/given up"
            await system_events.record(connection, event, key=key)

    def _handler(self, projection: str, name: str) -> SystemHandler:
        for handler in self._registry.system_handlers(projection):
            if handler.name == name:
                return handler
        raise ApplicationError(
            f"handler of system events: expected {name!r} to be registered with this worker: if it "
            "was removed or renamed, nothing is lost but its turn",
            type=UNKNOWN_HANDLER,
            non_retryable=True,
        )


def _typed(recorded: RecordedEvent, handler: SystemHandler) -> SystemEvent:
    try:
        return as_event(recorded, handler.types[recorded.type])
    except ValidationError as error:
        raise ApplicationError(
            f"system event {recorded.id}: expected the fields of {recorded.type}, got others, "
            f"perhaps of an older version: {told(error)}",
            type="UnreadableSystemEvent",
            non_retryable=True,
        ) from None


async def _called(handler: SystemHandler, event: SystemEvent, context: SystemEventContext) -> None:
    """Runs a handler. Whatever it raises is an attempt that failed: `exit()` is no end of ours."""
    task = asyncio.current_task()
    try:
        if inspect.iscoroutinefunction(handler.handle):
            called = handler(event, context)
        else:
            # Its effects take as long as they take; the attempt's own limit ends the wait.
            called = await in_thread(handler, event, context)
        if inspect.isawaitable(called):
            await called
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        if isinstance(error, ApplicationError):
            raise  # it says itself whether it is tried again
        logger.warning("%s raised %s\n%s", handler.name, raised(error), traced(error))
        raise ApplicationError(raised(error), type=type(error).__name__) from None


@dataclass
class _Context(SystemEventContext):
    id: str
    recorded_at: datetime
    correlation_id: str | None
    retry_attempt: int
    delivery_attempt: int
    take: Publish = field(repr=False)
    handler: str
    published: int = 0

    async def publish(self, event: SystemEvent) -> str:
        # A handler that is run again publishes the same, in the same order.
        self.published += 1
        correlated = event
        if event.correlation_id is None and self.correlation_id is not None:
            correlated = event.model_copy(update={"correlation_id": self.correlation_id})
        return await self.take(correlated, f"{self.id}/{self.handler}/{self.published}")
