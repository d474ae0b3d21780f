"""Tenants: whose events are whose."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement

from refold.errors import InvalidRequest
from refold.store.schema import events


def of_tenant(tenant: str, path: str | None) -> ColumnElement[bool]:
    """The condition for a tenant's events.

    Args:
        tenant: The tenant.
        path: Where an event names it: ``metadata.tenant_id``, ``data.tenant`` or ``stream_id``.

    Raises:
        InvalidRequest: Events name no tenant: there is no path.
    """
    return _named(require_path(tenant, path)) == tenant


def require_path(tenant: str, path: str | None) -> str:
    """The path, which there must be where somebody asks for a tenant.

    Raises:
        InvalidRequest: There is none.
    """
    if path is None:
        raise InvalidRequest(
            f"tenant: expected events that name their tenant, got {tenant!r}: set "
            "REFOLD_TENANT_PATH to where they do, such as metadata.tenant_id"
        )
    return path


def _named(path: str) -> ColumnElement[Any]:
    root, *steps = path.split(".")
    if not steps:
        return events.c.stream_id
    json: Any = events.c[root][tuple(steps)]
    tenant: ColumnElement[Any] = json.astext
    return tenant
