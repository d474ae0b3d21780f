"""Auto-start: whether a projection is to build itself, and on which workers."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import NotDeployed
from refold.messages.live import AUTO_START, auto_start_id
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.store import generations, leases, runs


async def wanted(connection: AsyncConnection, projection: Projection) -> bool:
    """Whether workers are to start a rebuild of the projection now.

    They do not when its version, or a higher one, is live or has been: a rollback was meant. They
    do not when it was tried before: a failure is for a person to look at. And they do not while a
    run holds the projection.
    """
    if not projection.backfill.auto_start:
        return False
    active = await generations.active(connection, projection.name)
    # A worker of older code does not bring an older version back.
    if active is not None and active.version >= projection.version:
        return False
    if await runs.has_built(
        connection,
        projection.name,
        projection.version,
        tried_by=AUTO_START,
        tried_under=auto_start_id(projection.name, projection.version),
    ):
        return False
    return await leases.holder(connection, projection.name) is None


def require_deployed(registry: Registry, projection: str, workflow_id: str) -> None:
    """Leaves a run by which a version builds itself to workers that have the version.

    While new code is being deployed, a worker of the old code may be asked first.

    Raises:
        NotDeployed: This worker has only older versions, or none.
    """
    if not workflow_id.startswith(auto_start_id(projection, "")):
        return
    wanted_version = workflow_id.rpartition("/")[2]
    known = registry.get(projection).version if projection in registry else 0
    if wanted_version.isdecimal() and int(wanted_version) > known:
        raise NotDeployed(projection, int(wanted_version), known)
