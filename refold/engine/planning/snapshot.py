"""Planning a snapshot: what is copied, and whether it can be."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.planning.planner import Planner, make_copy
from refold.engine.planning.preview import preview
from refold.errors import InvalidRequest
from refold.messages.run.plan import Plan
from refold.messages.snapshots import BeginSnapshot
from refold.projection.declaration import Projection
from refold.projection.sql.declaration import batch_size_of
from refold.store import generations
from refold.store.generations import Generation
from refold.store.tables import read_models


class SnapshotPlanner(Planner):
    """Plans snapshots; see `Planner`."""

    async def plan(self, begin: BeginSnapshot) -> Plan:
        """Makes a snapshot's plan, and records it.

        Raises:
            InvalidRequest: There is nothing that can be copied.
        """
        name = begin.request.projection
        async with self._engine.connect() as connection:
            active = await self._source(connection, name)
            projection = await self._built_by(active)
            position = active.position
            assert position is not None
            plan = Plan(
                run_id=begin.run_id,
                projection=name,
                version=active.version,
                generation=1 + await generations.highest(connection, name),
                atomic=False,
                position=position,
                head=position,
                partitions=0,
                max_concurrency=1,
                batch_size=batch_size_of(projection),
                total_events=0,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                copies=active.generation,
            )
            shown = await preview(connection, projection, plan, active, exact=False)
        plan = plan.shown_as(shown)

        async def write(connection: AsyncConnection) -> None:
            await make_copy(connection, plan, projection)

        return await self._record(plan, "Snapshot", begin.request, write)

    async def _source(self, connection: AsyncConnection, name: str) -> Generation:
        active = await generations.active(connection, name)
        if active is None:
            raise InvalidRequest(
                f"projection {name!r}: expected a read model to copy, it has never been built: "
                "start a Rebuild"
            )
        if not await read_models.exists(connection, active.schema_name, active.table_name):
            raise InvalidRequest(
                f"projection {name!r}: expected its live table to be there, it has been dropped: "
                "start a Rebuild"
            )
        if active.position is None:
            raise InvalidRequest(
                f"projection {name!r}: expected a live table with a checkpoint, it was there "
                "before Refold: start a Rebuild"
            )
        return active

    async def _built_by(self, active: Generation) -> Projection:
        projection = await self._deployment.version(active.projection, active.version)
        if projection is None:
            known = ", ".join(str(number) for number in self._registry.versions(active.projection))
            raise InvalidRequest(
                f"projection {active.projection!r}: the live table was built by version "
                f"{active.version}, which is not registered (registered: {known}): register it "
                "beside the present one, or start a Rebuild"
            )
        return projection
