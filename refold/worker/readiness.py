"""What a worker waits for: a database that answers, takes writes and is migrated."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import ConfigurationError
from refold.runtime.database import DATABASE_ERRORS, autocommit
from refold.runtime.judgement import Judgement, judge, told
from refold.runtime.missing_rights import with_right_named
from refold.runtime.reachability import check_reachable
from refold.source.checking.check import require_readable
from refold.source.port.elsewhere import events_engine
from refold.store.migrate import require_migrated

logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0


async def wait_until_ready(engine: AsyncEngine) -> None:
    """Waits for the database, saying every few seconds that it does not answer.

    A server that is lost again in the midst of it, as in a failover, is waited for, too.

    Raises:
        ConfigurationError: It answers, and will never let us in as configured, or the event source
            cannot be read.
        NotMigrated: It has not the schema that this code needs.
        RightDenied: It answers, and does not show its schema to this role.
        DBAPIError: It answers, and refuses something else.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        answered, where = False, ""
        try:
            where = _where(engine)
            await check_reachable(engine)
            answered = True
            await require_migrated(engine)
            there = events_engine(engine)
            if there is not engine:
                answered, where = False, f"{_where(there)} (REFOLD_EVENTS_URL)"
                await check_reachable(there)
            looking = autocommit(engine)
            async with looking.connect() as connection:
                return await require_readable(connection)
        except ConfigurationError:
            raise
        except DATABASE_ERRORS as error:
            if answered and judge(error) is not Judgement.PASSING:
                raise await with_right_named(engine, error) from error
            logger.warning(
                "PostgreSQL at %s does not answer (%s); trying again", where, told(error)
            )
        await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
        pause *= 2


def _where(engine: AsyncEngine) -> str:
    port = f":{engine.url.port}" if engine.url.port else ""
    return f"{engine.url.host or 'the local server'}{port}"
