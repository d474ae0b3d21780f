"""A fresh, migrated database for each test, copied from a template."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.source.port.elsewhere import events_engine
from refold.stack.postgres import EmbeddedPostgres
from refold.store.migrate import migrate

TEMPLATE = "refold_template"
_numbers = itertools.count(1)


@dataclass
class Database:
    """One test's database, and where its events are if they are in another one."""

    url: str
    engine: AsyncEngine
    settings: Settings
    events_url: str | None = None

    @property
    def log_url(self) -> str:
        """Where events are appended."""
        return self.events_url or self.url

    @property
    def log(self) -> AsyncEngine:
        """Connections to where events are appended."""
        return events_engine(self.engine)


async def make_template(server: EmbeddedPostgres) -> None:
    await _execute(server, f"CREATE DATABASE {TEMPLATE}")
    engine = make_engine(_settings(_url(server, TEMPLATE)))
    await migrate(engine)
    _Compiled.dialect = engine.sync_engine.dialect
    await engine.dispose()


class _Compiled:
    """Statements that this process has compiled once, for all of its databases.

    Each test's engine would compile the same few hundred anew: a tenth of a short run's work. They
    are found by their dialect, too, so that engines have to share it; it knows its server by the
    time the template has been migrated.
    """

    dialect: ClassVar[Dialect | None] = None
    statements: ClassVar[LRUCache[Any, Any]] = LRUCache(2000)

    @classmethod
    def share(cls, engine: AsyncEngine) -> AsyncEngine:
        """The same engine, which finds what others have compiled."""
        assert cls.dialect is not None, "the template is made first"
        inner = engine.sync_engine
        inner.dialect = inner.pool._dialect = cls.dialect
        inner._compiled_cache = cls.statements
        return engine


async def make_database(server: EmbeddedPostgres, template: str = TEMPLATE) -> Database:
    name = f"test_{next(_numbers)}"
    # Copied as files, not by way of the log: a third less work, with the small template and no
    # fsync.
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    settings = _settings(_url(server, name))
    engine = _Compiled.share(make_engine(settings, activities=10))
    return Database(_url(server, name), engine, settings)


async def become_template(server: EmbeddedPostgres, made: Database, template: str) -> None:
    """Gives a database a name under which others are copied from it."""
    await made.engine.dispose()
    await _execute(server, f"ALTER DATABASE {made.url.rsplit('/', 1)[1]} RENAME TO {template}")


async def drop_database(server: EmbeddedPostgres, database: Database) -> None:
    await database.engine.dispose()
    name = database.url.rsplit("/", 1)[1]
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _url(server: EmbeddedPostgres, name: str) -> str:
    return f"{server.url.rsplit('/', 1)[0]}/{name}"


def _settings(url: str) -> Settings:
    # Short times: tests kill workers and wait for others to take over.
    return Settings(database_url=url, heartbeat_timeout_seconds=3, segment_seconds=2)


async def _execute(server: EmbeddedPostgres, statement: str) -> None:
    async with _administration(server) as connection:
        await connection.execute(statement)


_ADMINISTERING: dict[tuple[str, asyncio.AbstractEventLoop], list[asyncpg.Connection[Any]]] = {}


@asynccontextmanager
async def _administration(server: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session that makes and drops databases; it is kept for the next one."""
    kept = _ADMINISTERING.setdefault((server.url, asyncio.get_running_loop()), [])
    while kept and kept[-1].is_closed():
        kept.pop()
    if kept:
        connection = kept.pop()
    else:
        connection = await asyncio.wait_for(asyncpg.connect(_url(server, "postgres")), 10)
    try:
        yield connection
    finally:
        kept.append(connection)
