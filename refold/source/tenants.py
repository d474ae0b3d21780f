"""Tenants: whose events are whose."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, String, Text, cast, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import InvalidRequest
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import is_elsewhere, reading
from refold.source.reader import at
from refold.store import dead_letters, schema


def of_tenant(tenant: str, path: str | None) -> ColumnElement[bool]:
    """The condition for a tenant's events.

    Args:
        tenant: The tenant.
        path: Where an event names it: ``metadata.tenant_id``, ``data.tenant`` or ``stream_id``;
            None where the event source has a column for it.

    Raises:
        InvalidRequest: Events name no tenant, or SQL cannot see where they do.
    """
    require_path(tenant, path)
    named = events().c.tenant if path is None else _named(path)
    if not isinstance(named.type, String):
        named = cast(named, Text)
    condition: ColumnElement[bool] = named == tenant
    return condition


def require_path(tenant: str, path: str | None) -> None:
    """Requires that events name their tenant, where somebody asks for one.

    Raises:
        InvalidRequest: They do not, or SQL cannot see where they do.
    """
    source = event_source()
    if path is None and not source.has_tenant:
        raise InvalidRequest(
            f"tenant: expected events that name their tenant, got {tenant!r}: set "
            "REFOLD_TENANT_PATH to where they do, such as metadata.tenant_id"
        )
    if path is not None and path.startswith("data.") and not source.sees_data:
        raise InvalidRequest(
            f"tenant: expected a tenant that SQL can see, got the path {path}, and the data of "
            f"{source!r} is decoded in Python: give the EventSource `tenant`"
        )


async def letters_of(
    connection: AsyncConnection, name: str, generation: int, among: ColumnElement[bool]
) -> ColumnElement[bool]:
    """The condition for a generation's dead letters of these events.

    Args:
        connection: To the read models' database.
        name: The projection.
        generation: The generation.
        among: Which events.
    """
    position, own = schema.dead_letters.c.position, events().c.position
    if not is_elsewhere():
        return select(own).where(own == position, among).exists()
    positions = await dead_letters.positions(connection, name, generation)
    async with reading(connection) as there:
        found = await there.execute(select(own).where(at(positions), among))
    return position.in_(list(found.scalars()))


def _named(path: str) -> ColumnElement[Any]:
    root, *steps = path.split(".")
    if not steps:
        stream: ColumnElement[Any] = events().c.stream_id
        return stream
    json: Any = events().c[root][tuple(steps)]
    tenant: ColumnElement[Any] = json.astext
    return tenant
