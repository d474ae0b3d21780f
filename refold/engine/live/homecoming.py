"""Before a run: the live checkpoint comes home, so that rows and position move as one."""

from __future__ import annotations

import logging
from enum import Enum

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.lifecycle.deployment import Deployment
from refold.engine.live.apart import Storage, Taken
from refold.errors import CheckpointLost, ConfigurationError, InvalidRequest
from refold.requests.criteria import Criteria
from refold.requests.runs import BackfillRequest
from refold.store import generations, schema
from refold.store.checkpoints import away
from refold.store.generations import Generation
from refold.store.sessions.takeover import take_over

logger = logging.getLogger(__name__)


class IfLost(Enum):
    """What a run does without a checkpoint that can be trusted."""

    REFUSE = "refuse"
    """It needs one."""
    FORGET = "forget"
    """It puts another table live; what stands there has no checkpoint any more."""
    TRUST = "trust"
    """It puts the rows right itself, those that somebody has named or all."""


_REPAIRS = (
    Criteria.FULL_REBUILD,
    Criteria.FROM_EVENT_NUMBER,
    Criteria.EVENT_NUMBER_RANGE,
)


def if_lost(request: BackfillRequest) -> IfLost:
    """What a backfill or rebuild does without a checkpoint, by what it says of itself.

    Args:
        request: With what the projection declares; see `as_declared`.
    """
    if request.is_atomic:
        return IfLost.FORGET
    return IfLost.TRUST if request.criteria in _REPAIRS else IfLost.REFUSE


class Homecoming:
    """Brings live checkpoints home for runs that hold the projection.

    Args:
        engine: The database.
        deployment: The projections.
        storage: Where live checkpoints are.
    """

    def __init__(self, engine: AsyncEngine, deployment: Deployment, storage: Storage) -> None:
        self._engine = engine
        self._deployment = deployment
        self._storage = storage

    async def bring(self, name: str, lost: IfLost) -> None:
        """Brings a checkpoint home; nothing happens when it is there.

        Args:
            name: The projection, whose lease the run holds: nobody hands its checkpoint out.
            lost: What is done when store and database contradict each other.

        Raises:
            InvalidRequest: They do, and the run needs a checkpoint.
            CheckpointStoreFailed: The store does not answer, or answers with an error.
            NotOnThisWorker: Another worker has the live version.
            Fenced: A live projection that was faster has brought it home, or is about to.
        """
        async with self._engine.connect() as connection:
            async with connection.begin():
                # Under the lock: who is handing it out has done so, or sees the lease.
                active = await generations.active(connection, name, lock=True)
            if active is None or active.away is None:
                return
            row = generations.row_of(name, active.generation)
            await take_over(self._engine, schema.generations, row, spares_work=True)
            projection = await self._deployment.version(name, active.version)
            async with connection.begin():
                fence = await generations.take_fence(connection, name, active.generation)
                taken = await generations.get(connection, name, active.generation)
                assert taken is not None
            try:
                await self._storage.bring_home(connection, Taken(projection, taken, fence))
            except (CheckpointLost, ConfigurationError) as error:
                if lost is IfLost.REFUSE:
                    raise InvalidRequest(f"projection {name!r}: {error}") from None
                logger.warning("%s; a run goes on without it", error)
                await self._without(connection, taken, fence, known=lost is IfLost.TRUST)

    async def _without(
        self, connection: AsyncConnection, generation: Generation, fence: int, *, known: bool
    ) -> None:
        await connection.rollback()
        async with connection.begin():
            await away.bring_home(connection, generation, fence, known=known)
