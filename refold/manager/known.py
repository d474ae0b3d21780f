"""Whether there is a projection of some name, as far as workers have shown."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import UnknownProjection
from refold.runtime.database import autocommit
from refold.runtime.missing_rights import naming_rights
from refold.store import deployments


async def require_known(engine: AsyncEngine, name: str, queue: str) -> None:
    """Requires a projection that was ever built, or that a worker has.

    Before any worker has shown itself nobody knows, and nothing is refused: the first one will. A
    database that does not answer is for those to tell who need it.

    Args:
        engine: The database.
        name: The projection.
        queue: The workers' namespace and task queue, see `refold.store.deployments.queue_of`.

    Raises:
        RightDenied: The role may not look.
        UnknownProjection: There is none; the message names those that there are.
    """
    looking = autocommit(engine)
    try:
        async with naming_rights(engine), looking.connect() as connection:
            if await deployments.is_known(connection, name):
                return
            registered = await deployments.registered(connection, queue)
    except (OSError, DBAPIError):
        return
    # A worker may have shown itself between the two looks.
    if registered and name not in registered:
        raise UnknownProjection(name, registered)
