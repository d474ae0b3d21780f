"""What the workflow of a live projection records and reads of system events."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.engine.lifecycle import announcements
from refold.messages.live import RECENT, ReadSystemEvents, RecordedNow, RecordSystemEvent
from refold.messages.recorded_event import RecordedEvent, brief
from refold.store import system_events
from refold.system_events.known import BUILT_IN


class SystemEventActivities:
    """Activities around `refold.system_events`.

    Args:
        engine: The database.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def record_system_event(self, order: RecordSystemEvent) -> RecordedNow:
        """Records an event, once for its key."""
        event = BUILT_IN[order.type].model_validate(
            {
                **order.data,
                "projection": order.projection,
                "correlation_id": order.correlation_id,
            },
            extra="ignore",
        )
        await announcements.clear_the_way(self._engine, order.projection)
        async with self._engine.begin() as connection:
            fresh = await system_events.record(connection, event, key=order.key)
            since = await system_events.latest(
                connection, order.projection, limit=RECENT, after=order.known
            )
        return RecordedNow(fresh=fresh, system_events=[brief(one) for one in since])

    @activity.defn
    async def read_system_events(self, order: ReadSystemEvents) -> list[RecordedEvent]:
        """What has been recorded since, the latest of it."""
        async with self._engine.connect() as connection:
            since = await system_events.latest(
                connection, order.projection, limit=RECENT, after=order.known
            )
        return [brief(one) for one in since]
