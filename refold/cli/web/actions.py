"""What the buttons ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from refold.errors import InvalidRequest
from refold.manager.projections import ProjectionManager, StartedRun
from refold.requests.runs import Approval

_WHO = "refold web"


class Asked(BaseModel):
    """What a button sends with it; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class WithReason(Asked):
    """Why, for the record."""

    reason: str | None = Field(default=None, max_length=500)


class RebuildAsked(Asked):
    """Who lets the new table go live; None for what the projection declares."""

    approval: str | None = Field(default=None, pattern="^(auto|manual)$")


class RollbackAsked(Asked):
    """To which generation; None for the one replaced last."""

    to_generation: int | None = Field(default=None, ge=1, lt=2**31)


ACTIONS: Mapping[str, type[Asked]] = {
    "approve": Asked,
    "reject": WithReason,
    "pause": Asked,
    "resume": Asked,
    "cancel": WithReason,
    "rebuild": RebuildAsked,
    "rollback": RollbackAsked,
}
"""What can be asked for, and what is said with it."""


async def act(manager: ProjectionManager, name: str, action: str, body: Any) -> StartedRun:
    """Does what a button asks for.

    Args:
        manager: The manager.
        name: The projection.
        action: One of `ACTIONS`.
        body: What is said with it, as JSON gives it.

    Returns:
        The run that is asked, or started.

    Raises:
        InvalidRequest: There is no such action, or this cannot be said with it.
        RefoldError: It cannot be done as the projection stands.
    """
    if action not in ACTIONS:
        raise InvalidRequest(f"action: expected one of ({', '.join(ACTIONS)}), got {action!r}")
    try:
        asked = ACTIONS[action].model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or action
        raise InvalidRequest(f"{place}: {first['msg']}") from None
    return await _DOES[action](manager, name, asked)


async def _rebuild(manager: ProjectionManager, name: str, asked: RebuildAsked) -> StartedRun:
    approval = None if asked.approval is None else Approval(asked.approval)
    return await manager.start_rebuild(name, approval=approval, requested_by=_WHO)


async def _rollback(manager: ProjectionManager, name: str, asked: RollbackAsked) -> StartedRun:
    return await manager.start_rollback(name, to_generation=asked.to_generation, requested_by=_WHO)


_DOES: Mapping[str, Callable[[ProjectionManager, str, Any], Awaitable[StartedRun]]] = {
    "approve": lambda manager, name, _: manager.approve(name, _WHO),
    "reject": lambda manager, name, asked: manager.reject(name, asked.reason),
    "pause": lambda manager, name, _: manager.pause(name),
    "resume": lambda manager, name, _: manager.resume(name),
    "cancel": lambda manager, name, asked: manager.cancel_backfill(name, asked.reason),
    "rebuild": _rebuild,
    "rollback": _rollback,
}
