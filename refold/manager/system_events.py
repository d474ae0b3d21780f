"""System events from Python: published, and listed."""

from __future__ import annotations

from refold.manager.connection import Connection
from refold.manager.publication import publish
from refold.messages.recorded_event import RecordedEvent
from refold.store import system_events
from refold.system_events.events import SystemEvent


class SystemEvents:
    """Publishes system events, and lists those on the record."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def publish(self, event: SystemEvent) -> str:
        """Publishes a system event: for handlers, and on the record.

        One that asks for something (`ProjectionBackfillRequested` and its like) starts it, also
        when nothing of the projection runs yet; what comes of it is recorded with the same
        correlation id.

        Returns:
            Its correlation id: its own, or a new one.

        Raises:
            ConfigurationError: The manager was made without a database.
            UnknownProjection: There is no projection of that name.
        """
        return await publish(
            self._connection.client,
            self._connection.engine,
            event,
            task_queue=self._connection.task_queue,
        )

    async def get_system_events(
        self, name: str | None = None, *, after: int = 0, limit: int = 50
    ) -> list[RecordedEvent]:
        """The latest system events, the oldest of them first.

        Args:
            name: Of this projection; None for all projections.
            after: Only numbers above this (exclusive).
            limit: How many at most.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            return await system_events.latest(connection, name, limit=limit, after=after)
