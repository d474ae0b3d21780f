"""Why a chore could not do something, in one short line."""

from __future__ import annotations

from temporalio.service import RPCError

from refold.database import server_error

_LONGEST = 500

# The SDK has no class for it.
_NEVER_CONNECTED = "Failed client connect"


def reason_of(error: BaseException) -> str:
    """An error in the words of the server that refused, without statements and parameters."""
    if isinstance(error, RPCError):
        return f"Temporal does not answer ({error.status.name})"
    if isinstance(error, RuntimeError) and str(error).startswith(_NEVER_CONNECTED):
        return "Temporal does not answer (never connected)"
    refused = server_error(error)
    if refused is not None:
        # Its other details show keys and rows; these show what depends on an object.
        depends = refused.sqlstate == "2BP01" and refused.detail
        detail = f" ({refused.detail})" if depends else ""
        said = f"PostgreSQL: {refused.args[0]}{detail} [{refused.sqlstate}]"
    else:
        said = str(getattr(error, "orig", None) or error) or type(error).__name__
    line = " ".join(said.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
