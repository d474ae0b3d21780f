"""Events in another database than the read models: connections for reading them, and their order.

No statement joins the two. Whoever reads events asks `reading` for the connection to read with: it
is the one at hand when the events are here. There, nothing is written, locked or made: SELECT is
all that a role needs.

What is read up to a settled position must be read from a server that has it. After a failover a
connection may lead to the server that was the primary, and the head may have been found on the new
one. So a session says how far its events go before they are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import asyncpg
from sqlalchemy import ColumnElement, String
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.errors import ConfigurationError, EventsUnreachable, RefoldError
from refold.errors.words import raised
from refold.projection.keys.part import KeyPart
from refold.runtime.database import LOST, Beside, Role, autocommit, beside, engine_of
from refold.runtime.database_url import DatabaseUrl
from refold.runtime.sessions import Connector
from refold.source.port.current import event_source, events_url, parsed_events_url

VARIABLE = "REFOLD_EVENTS_URL"

_PRIMARY = Role(
    VARIABLE,
    "SELECT NOT pg_catalog.pg_is_in_recovery()",
    "it is a standby, which does not show who may still append",
)
_ANY = Role(VARIABLE, "SELECT true", "it does not answer")

ORDER = "C"
"""The collation by which keys are ordered when two servers have to agree."""


def is_elsewhere() -> bool:
    """Whether the events are in another database than the read models."""
    return events_url() is not None


def source_in_words() -> str:
    """Where this process reads events, as people are told: no address, and nothing of a password.

    Raises:
        ConfigurationError: REFOLD_EVENTS or REFOLD_EVENTS_URL cannot work.
    """
    name, url = event_source().name, events_url()
    if url is None:
        return name
    return f"{name} in database {parsed_events_url(url).database!r}, another one"


def events_engine(engine: AsyncEngine) -> AsyncEngine:
    """Connections to the events, given those to the read models; the same when they are there.

    It has as many connections as the other, and is closed with it.

    Raises:
        ConfigurationError: The address of the events cannot work.
    """
    url = events_url()
    if url is None:
        return engine
    known = beside(engine)
    if url not in known.engines:
        pool: Any = engine.pool
        known.engines[url] = _made(parsed_events_url(url), known, pool.size())
    return known.engines[url]


def _made(address: DatabaseUrl, known: Beside, connections: int) -> AsyncEngine:
    on_standby = getattr(event_source().settled, "on_standby", False)
    return engine_of(
        address,
        _Naming(
            address,
            writes=not on_standby,
            variable=VARIABLE,
            of_several="any" if on_standby else "primary",
        ),
        _ANY if on_standby else _PRIMARY,
        known,
        pool_size=connections,
    )


class _Naming(Connector):
    """Says which of the two databases it is that does not answer."""

    async def connect(self) -> asyncpg.Connection[Any]:
        """See `Connector`."""
        try:
            return await super().connect()
        except Exception as error:
            raise self._named(error) from error

    async def is_pooled(self) -> bool:
        """See `Connector`."""
        try:
            return await super().is_pooled()
        except Exception as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> Exception:
        if isinstance(error, RefoldError):
            return error
        state = (getattr(error, "sqlstate", None) or "")[:2]
        if state in ("28", "3D"):
            return ConfigurationError(f"{VARIABLE}: the server refuses it: {error}")
        if isinstance(error, LOST) or state in ("08", "53", "57"):
            return EventsUnreachable(self._url.where, f"does not answer ({raised(error)})")
        return error


@asynccontextmanager
async def reading(
    connection: AsyncConnection, *, upto: int | None = None
) -> AsyncIterator[AsyncConnection]:
    """The connection to read events with: the given one, or one there, in autocommit.

    Args:
        connection: Any connection to the read models' database; or one that this has given.
        upto: How far events are going to be read (inclusive); None where it does not matter if
            the last ones are missing.

    Raises:
        EventsUnreachable: The database of the events does not answer, or has not come as far.
    """
    if events_url() is None:
        yield connection
        return
    engine = events_engine(connection.engine)
    if connection.engine.dialect is engine.dialect:
        yield connection
        return
    there = autocommit(engine)
    async with there.connect() as other:
        await require_reached(other, upto)
        yield other


_P = ParamSpec("_P")
_T = TypeVar("_T")
_Reads = Callable[Concatenate[AsyncConnection, _P], Coroutine[Any, Any, _T]]


def reads_events(function: _Reads[_P, _T]) -> _Reads[_P, _T]:
    """Gives a function, in the place of the connection at hand, the one to read events with."""

    @wraps(function)
    async def there(connection: AsyncConnection, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        async with reading(connection) as other:
            return await function(other, *args, **kwargs)

    return cast(_Reads[_P, _T], there)


async def require_reached(connection: AsyncConnection, upto: int | None) -> None:
    """Requires that a session of another database has the events up to a settled position.

    Raises:
        EventsUnreachable: It has not.
    """
    if upto is None or events_url() is None:
        return
    source = event_source()
    if upto <= source.before:
        return
    highest = await source.settled.highest(connection, source)
    if highest < upto:
        url = connection.engine.url
        raise EventsUnreachable(
            f"{url.host}:{url.port}",
            f"has events up to position {highest} only, and {upto} was read before: after a "
            "failover, REFOLD_EVENTS_URL has to lead to the new primary; if the last events were "
            "deleted, rebuild",
        )


# -- the order of keys -----------------------------------------------------------------------


def key_collation() -> str | None:
    """The collation by which text in keys is ordered; None for the one that it has.

    Two servers may have other collations, or other versions of one: then a range of keys would be
    another one on each.
    """
    return ORDER if is_elsewhere() else None


def in_order(
    columns: Sequence[ColumnElement[Any]], paths: Sequence[KeyPart]
) -> list[ColumnElement[Any]]:
    """The parts of a key as they are ordered."""
    collation = key_collation()
    if collation is None:
        return list(columns)
    return [
        column.collate(collation) if isinstance(path.column.type, String) else column
        for column, path in zip(columns, paths, strict=True)
    ]
