"""Dead letters from Python: listed, retried, skipped."""

from __future__ import annotations

from collections.abc import Sequence

from refold.manager.connection import Connection
from refold.manager.run.started_run import StartedRun
from refold.manager.runs import Runs
from refold.messages.run.life import BackfillResult
from refold.projection.dead_letters import DeadLetter
from refold.requests.criteria import Criteria
from refold.requests.poison_policy import OnPoison
from refold.requests.runs import BackfillRequest
from refold.source.tenants import letters_of, of_tenant
from refold.store import dead_letters, generations


class DeadLetters:
    """Lists dead letters, and refolds the keys that they hold."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    async def get_dead_letters(self, name: str, *, tenant: str | None = None) -> list[DeadLetter]:
        """The dead letters of what readers query now, the oldest first.

        Args:
            name: The projection.
            tenant: Only those of this tenant's events; None for all.

        Raises:
            ConfigurationError: The manager was made without a database.
            InvalidRequest: A tenant is given, but no `tenant_path` to the manager.
        """
        own = None if tenant is None else of_tenant(tenant, self._connection.tenant_path)
        async with self._connection.connected() as connection:
            active = await generations.active(connection, name)
            if active is None:
                return []
            among = None
            if own is not None:
                among = await letters_of(connection, name, active.generation, own)
            return await dead_letters.listed(connection, name, active.generation, among)

    async def retry_dead_letters(self, name: str) -> BackfillResult:
        """Refolds the keys that are held, and waits for the end.

        Keys whose events can be taken by now are right again; the others stay as they are.

        Raises:
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self._runs.result(await self.start_retry(name))

    async def skip_dead_letters(self, name: str, positions: Sequence[int]) -> BackfillResult:
        """Passes over the events of dead letters for good, and refolds the keys that are held.

        Args:
            name: The projection.
            positions: The positions of dead letters; every fold passes over them from now on.

        Raises:
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self._runs.result(await self.start_retry(name, skip=positions))

    async def start_retry(
        self, name: str, *, skip: Sequence[int] = (), requested_by: str | None = None
    ) -> StartedRun:
        """Starts a `Backfill` of the keys that are held and returns at once.

        Args:
            name: The projection.
            skip: Positions of dead letters that are passed over from now on.
            requested_by: Who asks, for the record.

        Raises:
            ProjectionBusy: Another run writes the projection.
        """
        request = BackfillRequest(
            projection=name,
            criteria=Criteria.DEAD_LETTERS,
            # What still cannot be taken stays set aside.
            on_poison=OnPoison.SET_ASIDE,
            skip_events=list(skip) or None,
            requested_by=requested_by,
        )
        return await self._runs.begin("Backfill", f"backfill/{name}", name, request)
