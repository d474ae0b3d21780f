"""Connections to PostgreSQL: the engine, the raw driver in hot loops, and what errors mean."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
import sqlalchemy.exc
from sqlalchemy import URL, Executable, event
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from refold.errors import words
from refold.projection.columns import exact_json, exact_times
from refold.runtime.database_url import DatabaseUrl
from refold.runtime.driver import adapted
from refold.runtime.sessions import Connector
from refold.runtime.settings import Settings

logger = logging.getLogger(__name__)

DIALECT = asyncpg_dialect(  # type: ignore[no-untyped-call]
    # This makes the ranges and strings of bits that the driver takes.
    dbapi=asyncpg_dialect.import_dbapi(),  # type: ignore[no-untyped-call]
    json_serializer=exact_json.dumps,
)

LOST: tuple[type[Exception], ...] = (
    OSError,  # TimeoutError is one, and ConnectionError
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # such as of a connection that ended while it was being asked
    sqlalchemy.exc.DisconnectionError,
    sqlalchemy.exc.PendingRollbackError,
    sqlalchemy.exc.ResourceClosedError,
    sqlalchemy.exc.TimeoutError,
)
"""Of connections that cannot be made, are lost, or were given up to open new ones."""

DATABASE_ERRORS: tuple[type[Exception], ...] = (DBAPIError, asyncpg.PostgresError, *LOST)
"""What asking PostgreSQL may raise; not all of it passes."""

# A refold activity reads on one connection and writes on another.
CONNECTIONS_PER_ACTIVITY = 2
READERS_AHEAD = 2
"""So many live projections of a process may read ahead, each on a connection more."""
# For what is looked up beside the activities.
_SPARE_CONNECTIONS = 2


def connections_of(activities: int) -> int:
    """How many connections a process opens at most that many activities of which work at a time."""
    return activities * CONNECTIONS_PER_ACTIVITY + _SPARE_CONNECTIONS + READERS_AHEAD


def make_engine(
    settings: Settings, *, activities: int = 2, pool_size: int | None = None
) -> AsyncEngine:
    """An engine with enough connections for that many activities at a time.

    Args:
        settings: The settings, which have the address.
        activities: How many activities work at a time; with none, a standby will do, too.
        pool_size: How many connections there are; as many as the activities need if left out.

    Raises:
        ConfigurationError: REFOLD_DATABASE_URL is missing, not a PostgreSQL URL, or has a parameter
            that cannot be honoured.
    """
    address = settings.database_address()
    connector = Connector(address, writes=activities > 0)
    beside = Beside()
    size = pool_size or connections_of(activities)
    engine = engine_of(address, connector, WRITTEN, beside, pool_size=size)

    @event.listens_for(engine.sync_engine, "engine_disposed")
    def disposed(disposed: Any) -> None:
        for other in beside.engines.values():
            other.sync_engine.dispose()

    return engine


@dataclass
class Beside:
    """The databases that are read beside an engine's own, by address; closed with it."""

    engines: dict[str, AsyncEngine] = field(default_factory=dict)


@dataclass(frozen=True)
class Role:
    """What a database is for.

    Attributes:
        variable: What its address is called.
        look: SQL: whether a session leads to a server that will do.
        lacks: Why it does not, where that is false.
    """

    variable: str
    look: str
    lacks: str


# Neither on a standby nor where transactions are read only, as they are on a server that was
# demoted.
WRITTEN = Role(
    "REFOLD_DATABASE_URL",
    "SELECT NOT pg_catalog.pg_is_in_recovery() "
    "AND pg_catalog.current_setting('transaction_read_only') = 'off'",
    "it takes no writes: it is a standby, or default_transaction_read_only is on",
)
"""The database of the read models."""

_ROLE, _BESIDE, _LISTENERS = "refold_role", "refold_beside", "refold_listeners"

CheckoutListener = Callable[[Any, Any], None]
"""Takes a connection that is taken from a pool: the driver's, and the pool's record of it."""

# Kept for each engine: to make one takes as long as a short statement.
_AUTOCOMMIT: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()


def role_of(engine: AsyncEngine) -> Role:
    """What the database of an engine is for."""
    role: Role = engine.get_execution_options().get(_ROLE, WRITTEN)
    return role


def autocommit(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for what only looks, or takes no transaction: it begins and commits none."""
    made = _AUTOCOMMIT.get(engine) or engine.execution_options(isolation_level="AUTOCOMMIT")
    return _AUTOCOMMIT.setdefault(engine, made)


def beside(engine: AsyncEngine) -> Beside:
    """The databases that are read beside an engine's own."""
    found: Beside = engine.get_execution_options()[_BESIDE]
    return found


def add_checkout_listener(engine: AsyncEngine, listener: CheckoutListener) -> None:
    """Has a function be called with each connection that is taken from an engine's pool.

    A listener of SQLAlchemy's own must not be added while others use the engine: who waits for the
    server in one, as `_require_fresh` does, would find their list changed, and fail.
    """
    engine.get_execution_options()[_LISTENERS].append(listener)


def engine_of(
    address: DatabaseUrl, connector: Connector, role: Role, beside: Beside, *, pool_size: int
) -> AsyncEngine:
    """An engine whose sessions are as `Connector` makes them.

    Args:
        address: Where the database is.
        connector: Opens its connections.
        role: What it is for.
        beside: What is read beside it, or what it is among.
        pool_size: How many connections there are at most.
    """
    listeners: list[CheckoutListener] = []
    engine = create_async_engine(
        URL.create(
            "postgresql+asyncpg",
            username=address.user,
            host=address.where if len(address.hosts) > 1 else next(iter(address.hosts), None),
            port=address.ports[0] if len(address.hosts) == 1 else None,
            database=address.database,
        ),
        pool_size=pool_size,
        max_overflow=0,
        # The connection that was given back last has most statements prepared, and was looked at
        # last. Taken by turns, all of them would have to prepare everything.
        pool_use_lifo=True,
        # An error shows its statement only: parameters may hold what nobody should see.
        hide_parameters=True,
        # Alike wherever JSON is read or written: the numbers of rows and events are exact.
        json_serializer=exact_json.dumps,
        json_deserializer=exact_json.loads,
        execution_options={_ROLE: role, _BESIDE: beside, _LISTENERS: listeners},
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        pooled = await_only(connector.is_pooled())
        return adapted(dialect.dbapi, connector.connect(), prepared=0 if pooled else _PREPARED)

    @event.listens_for(engine.sync_engine, "checkout")
    def check(connection: Any, record: Any, proxy: Any) -> None:
        _require_fresh(connection, record, role)
        for listener in listeners:
            listener(connection, record)

    event.listen(engine.sync_engine, "connect", _with_exact_times)
    return engine


def _with_exact_times(connection: Any, record: Any) -> None:
    connection.run_async(exact_times.install)


# A run has more statements than SQLAlchemy's 100. A cache that is too small for them is of no use:
# each is prepared anew, in a round trip, and one that comes after it is closed in another.
_PREPARED = 400

_LOOK_SECONDS = 10.0
# A connection that was looked at so lately is taken as it is. Should the server have failed over
# since, what is tried fails, and passes when it is tried again.
_FRESH_SECONDS = 1.0
_LOOKED = "refold_looked"


def _require_fresh(connection: Any, record: Any, role: Role) -> None:
    """Refuses a pooled connection that is broken, or leads to a server that will not do.

    After a failover an old connection may live on, to the server that was the primary. A new one
    is taken as it is, and so is one that was looked at in the last second.

    Raises:
        DisconnectionError: Another connection is to be opened instead.
        InvalidatePoolError: The other connections of that age are not to be used, either.
    """
    now = time.monotonic()
    looked = record.info.setdefault(_LOOKED, now)
    if now - looked < _FRESH_SECONDS:
        return

    async def look(driver: asyncpg.Connection[Any]) -> object:
        return await driver.fetchval(role.look, timeout=_LOOK_SECONDS)

    try:
        will_do = connection.run_async(look)
    except DATABASE_ERRORS as error:
        raise DisconnectionError(f"the connection is broken: {error}") from error
    if not will_do:
        logger.warning("PostgreSQL on connections made before: %s: opening new ones", role.lacks)
        raise InvalidatePoolError(role.lacks)
    record.info[_LOOKED] = now


async def raw(connection: AsyncConnection) -> asyncpg.Connection[Any]:
    """asyncpg's own connection, for COPY and cursors; its transaction is SQLAlchemy's."""
    pooled = await connection.get_raw_connection()
    driver: asyncpg.Connection[Any] | None = pooled.driver_connection
    assert driver is not None
    return driver


@asynccontextmanager
async def own_transaction(
    connection: AsyncConnection,
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A transaction of the driver's own: SQLAlchemy's would cost as much again as a small batch.

    A task that is cancelled in the midst of it gives the connection up. SQLAlchemy does not know of
    the transaction and would hand it, still open, to the next task, whose commits would be none.
    """
    driver = await raw(connection)
    try:
        async with driver.transaction():
            yield driver
    except Exception:
        raise  # rolled back by the driver
    except BaseException as cancelled:
        await connection.invalidate(cancelled)
        raise


def storable(value: Any) -> Any:
    """JSON or text as PostgreSQL can store it: it has no NUL and no lone surrogates."""
    if isinstance(value, str):
        return words.storable(value)
    if isinstance(value, list):
        return [storable(inner) for inner in value]
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    return value


def compiled(statement: Executable) -> tuple[str, list[Any]]:
    """A Core statement as text with ``$n`` placeholders, and its arguments in order."""
    result: Any = statement.compile(  # type: ignore[attr-defined]
        dialect=DIALECT, compile_kwargs={"render_postcompile": True}
    )
    names: Sequence[str] = result.positiontup or []
    return str(result), [result.params[name] for name in names]


def compiled_names(statement: Executable) -> tuple[str, list[str]]:
    """A Core statement as text with ``$n`` placeholders, and its parameters' names in order."""
    result: Any = statement.compile(dialect=DIALECT)  # type: ignore[attr-defined]
    return str(result), list(result.positiontup or [])


def server_error(error: BaseException) -> asyncpg.PostgresError | None:
    """PostgreSQL's own error behind what SQLAlchemy or asyncpg raised, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, asyncpg.PostgresError):
            return seen
        seen = seen.orig if isinstance(seen, DBAPIError) and seen.orig else seen.__cause__
    return None
