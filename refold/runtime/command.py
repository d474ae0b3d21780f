"""Running a coroutine as a process: logging, and errors as one line and an exit status."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from refold.errors import RefoldError

FAILED = 1


def run_command(work: Callable[[], Awaitable[object]]) -> int:
    """Runs a command to its end.

    Returns:
        0 when it is done; 1 after an error that it can explain, which is printed on one line.
    """
    from refold.runtime.telemetry.logs import set_up_logging

    set_up_logging()
    try:
        asyncio.run(_awaited(work))
    except Exception as error:
        sys.stderr.write(f"refold: {explained(error)}\n")
        return FAILED
    return 0


async def _awaited(work: Callable[[], Awaitable[object]]) -> None:
    await work()


def explained(error: Exception) -> str:
    """An error in one line for people: what it is and what to do.

    Raises:
        Exception: The error itself, when it is none that is understood here.
    """
    if isinstance(error, RefoldError):
        return str(error)
    # Commands that use neither start without them.
    from temporalio.service import RPCError

    from refold.runtime.database import DATABASE_ERRORS

    if isinstance(error, RPCError):
        return f"Temporal refuses: {error.message}"
    if isinstance(error, DATABASE_ERRORS):
        return f"PostgreSQL at REFOLD_DATABASE_URL does not answer or refuses: {_short(error)}"
    raise error


def _short(error: Exception) -> str:
    from sqlalchemy.exc import DBAPIError

    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
