"""Events in another database than the read models, on another server or on the same one.

``@pytest.mark.parametrize("database", PLACES, indirect=True)`` has a test run with them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from refold.source.port.current import OWN, using
from refold.stack.postgres import EmbeddedPostgres
from tests.support.databases import Database, drop_database, make_database, make_template
from tests.support.ports import free_port
from tests.support.soaking import soak

HERE, ANOTHER_SERVER, SAME_SERVER = "here", "another-server", "same-server"

PLACES = [HERE, *soak(ANOTHER_SERVER)]


class EventsServer:
    """A second PostgreSQL server, started when a test first asks for it.

    Args:
        directory: Its data's.
        settings: PostgreSQL's.
    """

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self._directory = directory
        self._settings = settings
        self._server: EmbeddedPostgres | None = None

    async def server(self) -> EmbeddedPostgres:
        """The server, with a migrated database to copy."""
        if self._server is None:
            server = EmbeddedPostgres(self._directory, free_port(), self._settings)
            await asyncio.to_thread(server.start)
            await make_template(server)
            self._server = server
        return self._server

    def stop(self) -> None:
        """Stops it, if it was started."""
        if self._server is not None:
            self._server.stop()


@asynccontextmanager
async def events_in(
    place: str, database: Database, here: EmbeddedPostgres, there: EventsServer
) -> AsyncIterator[Database]:
    """The database, with its events in a place: Refold's own table there."""
    if place == HERE:
        yield database
        return
    server = here if place == SAME_SERVER else await there.server()
    other = await make_database(server)
    with using(OWN, other.url):
        yield replace(database, events_url=other.url)
    await database.engine.dispose()
    await drop_database(server, other)
