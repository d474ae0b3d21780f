"""Why a chore could not do something, in one short line."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.service import RPCError

from refold.errors.words import shortened
from refold.runtime.database import server_error
from refold.runtime.judgement import refusal, told
from refold.runtime.missing_rights import with_right_named

_LONGEST = 500

# The SDK has no class for it.
_NEVER_CONNECTED = "Failed client connect"


async def reason_in(engine: AsyncEngine, error: Exception) -> str:
    """The same as `reason_of`; a right that the role lacks is named, with the GRANT for it."""
    return reason_of(await with_right_named(engine, error))


def reason_of(error: BaseException) -> str:
    """An error in one line, with nothing that a row, an event or a statement holds."""
    if isinstance(error, RPCError):
        return f"Temporal does not answer ({error.status.name})"
    if isinstance(error, RuntimeError) and str(error).startswith(_NEVER_CONNECTED):
        return "Temporal does not answer (never connected)"
    refused = server_error(error)
    # Not how to start it again: chores do that by themselves.
    said = told(error) if refused is None else f"PostgreSQL: {refusal(refused)}"
    return shortened(" ".join(said.split()), _LONGEST)
