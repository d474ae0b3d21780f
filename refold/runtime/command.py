"""Running a coroutine as a process: logging, and errors as one line and an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

from sqlalchemy.exc import DBAPIError
from temporalio.service import RPCError

from refold.errors import RefoldError
from refold.runtime.database import DATABASE_ERRORS
from refold.runtime.telemetry.flushing import flush_telemetry
from refold.runtime.telemetry.logs import set_up_logging

FAILED = 1


def run_command(work: Callable[[], Awaitable[object]]) -> int:
    """Runs a command to its end.

    Returns:
        0 when it is done; 1 after an error that it can explain, which is printed on one line.
    """
    set_up_logging()
    try:
        asyncio.run(_awaited(work))
    except Exception as error:
        sys.stderr.write(f"refold: {explained(error)}\n")
        return FAILED
    return 0


def leave(status: int) -> NoReturn:
    """Ends the process at once, with all output written.

    Temporal's client has threads of its own that may still hand results to Python while the
    interpreter is being torn down, which aborts the process: one exit in three, with status 134
    after all was done.
    """
    flush_telemetry()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # The reader of our output may be gone.
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


async def _awaited(work: Callable[[], Awaitable[object]]) -> None:
    await work()


def explained(error: Exception) -> str:
    """An error in one line for people: what it is and what to do.

    Raises:
        Exception: The error itself, when it is none that is understood here.
    """
    if isinstance(error, RefoldError):
        return str(error)
    if isinstance(error, RPCError):
        return f"Temporal refuses: {error.message}"
    if isinstance(error, DATABASE_ERRORS):
        return f"PostgreSQL at REFOLD_DATABASE_URL does not answer or refuses: {_short(error)}"
    raise error


def _short(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
