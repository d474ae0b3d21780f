"""Connections to PostgreSQL: the engine, the raw driver in hot loops, and what errors mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Executable, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from refold.errors import ConfigurationError
from refold.settings import Settings

logger = logging.getLogger(__name__)

DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]

# A refold activity reads on one connection and writes on another.
CONNECTIONS_PER_ACTIVITY = 2


def make_engine(settings: Settings, *, activities: int = 2) -> AsyncEngine:
    """An engine with enough connections for that many activities at a time.

    Raises:
        ConfigurationError: REFOLD_DATABASE_URL is missing or not a PostgreSQL URL.
    """
    return create_async_engine(
        settings.sqlalchemy_url(),
        pool_size=activities * CONNECTIONS_PER_ACTIVITY + 2,
        max_overflow=0,
        pool_pre_ping=True,
        # Values are data: they must not get into errors, and so into logs and histories.
        hide_parameters=True,
        # Alike wherever JSON is read: json.loads would make other numbers of large ones.
        json_deserializer=orjson.loads,
        connect_args={"timeout": 10, "server_settings": {"application_name": "refold"}},
    )


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

    Whoever is cancelled in the midst of it gives the connection up: SQLAlchemy does not know of the
    transaction and would hand it, open, to the next one, whose commits would then be none.
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
        return value.encode(errors="replace").decode().replace("\0", "\ufffd")
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


async def check_reachable(engine: AsyncEngine) -> None:
    """Connects once.

    Raises:
        ConfigurationError: The server answers, and will never let us in as configured.
        OSError, DBAPIError: The server does not answer (now); trying again makes sense.
    """
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as e:
        raise ConfigurationError(f"REFOLD_DATABASE_URL: the server refuses it: {e}") from e
    except DBAPIError as e:
        if _is(e, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError):
            raise ConfigurationError(
                f"REFOLD_DATABASE_URL: the server refuses it: {server_error(e)}"
            ) from e
        raise


def _is(error: DBAPIError, *kinds: type[BaseException]) -> bool:
    cause = getattr(error.orig, "__cause__", None)
    return isinstance(cause, kinds)


def server_error(error: BaseException) -> asyncpg.PostgresError | None:
    """PostgreSQL's own error behind what SQLAlchemy or asyncpg raised, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, asyncpg.PostgresError):
            return seen
        seen = seen.orig if isinstance(seen, DBAPIError) and seen.orig else seen.__cause__
    return None


async def wait_until_reachable(engine: AsyncEngine) -> None:
    """Waits for the server to answer, saying every few seconds that it does not.

    Raises:
        ConfigurationError: It answers, and will never let us in as configured.
    """
    pause = 0.5
    while True:
        try:
            return await check_reachable(engine)
        except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            where = f"{engine.url.host or 'local socket'}:{engine.url.port or 5432}"
            logger.warning("PostgreSQL at %s does not answer (%s); trying again", where, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 5.0)
