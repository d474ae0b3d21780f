"""Whether a database can be reached, and why not."""

from __future__ import annotations

import ssl

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import ConfigurationError
from refold.runtime.database import Role, role_of, server_error

_STATEMENT_POOLING = "statement pooling mode"  # PgBouncer's words
_NO_TLS = "rejected SSL upgrade"  # asyncpg's words


async def check_reachable(engine: AsyncEngine) -> None:
    """Connects once.

    Raises:
        ConfigurationError: The server answers, and will never let us in as configured.
        OSError, DBAPIError: The server does not answer, or will not do (now); trying again makes
            sense.
    """
    role = role_of(engine)
    try:
        async with engine.connect() as connection:
            if not await connection.scalar(text(role.look)):
                await connection.invalidate()
                raise OSError(role.lacks)
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        ssl.SSLCertVerificationError,
    ) as e:
        raise ConfigurationError(f"{role.variable}: the server refuses it: {e}") from e
    except asyncpg.InsufficientPrivilegeError as e:
        raise ConfigurationError(_may_not_connect(engine, role, e)) from e
    except ConnectionError as e:
        if _NO_TLS in str(e):
            raise ConfigurationError(
                f"{role.variable}: the address asks for TLS, and the server has none: take away "
                "sslmode, or set ssl = on in the server"
            ) from e
        raise
    except DBAPIError as e:
        if _is(e, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError):
            raise ConfigurationError(
                f"{role.variable}: the server refuses it: {server_error(e)}"
            ) from e
        if _STATEMENT_POOLING in str(server_error(e)):
            raise ConfigurationError(
                f"{role.variable}: expected a pooler that keeps transactions together, got one "
                "in statement mode: set its pool_mode to transaction"
            ) from e
        raise


def _may_not_connect(engine: AsyncEngine, role: Role, error: Exception) -> str:
    user, database = engine.url.username, engine.url.database
    return (
        f"{role.variable}: the server refuses it: {error.args[0]}: GRANT CONNECT ON DATABASE "
        f"{database} TO {user}"
    )


def _is(error: DBAPIError, *kinds: type[BaseException]) -> bool:
    cause = getattr(error.orig, "__cause__", None)
    return isinstance(cause, kinds)
