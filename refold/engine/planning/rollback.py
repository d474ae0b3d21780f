"""Planning a rollback: which generation, and whether it can be brought to the head."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.planning.head import settled_head
from refold.engine.planning.measurement import count_between
from refold.engine.planning.planner import Planner, make_copy
from refold.engine.planning.preview import preview
from refold.engine.planning.snapshot_target import Source, named_snapshot, taking
from refold.engine.step import Step
from refold.errors import InvalidRequest
from refold.messages.run.life import BeginRollback
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.sql.declaration import batch_size_of
from refold.requests.poison_policy import Poison
from refold.requests.runs import RollbackRequest
from refold.store import generations
from refold.store.generations import RETAINED, SNAPSHOT, UNMANAGED, Generation
from refold.store.snapshots import copies, kept
from refold.store.swap.swap import require_none_refused
from refold.store.tables import read_models


class RollbackPlanner(Planner):
    """Plans rollbacks; see `Planner`."""

    async def plan(self, begin: BeginRollback, beat: Step) -> Plan:
        """Makes a rollback's plan, and records it.

        Raises:
            InvalidRequest: There is no such generation or snapshot to go back to, or the handlers
                of its version are not registered.
            SwapRefused: Something is attached to the live table that cannot move.
        """
        request = begin.request
        async with self._engine.connect() as connection:
            source = await named_snapshot(connection, request)
            source = source or Source(await _target(connection, request))
            target = source.generation
            if not await read_models.exists(connection, target.schema_name, target.table_name):
                raise InvalidRequest(
                    f"generation {target.generation} of {request.projection!r}: expected its table "
                    f"{target.schema_name}.{target.table_name} to be there, somebody has dropped "
                    "it: roll back to another, or start a Rebuild"
                )
            if target.status == RETAINED and source.kept is None:
                self._require_enabled(target)
            active = await generations.active(connection, request.projection)
            projection = await taking(self._deployment, request, source)
            copied = source.copied
            stale = projection is None or target.position is None
            if stale and (copied or not request.allow_stale):
                raise InvalidRequest(self._why_stale(request, source))
            # Of a version that is not registered only the table's name matters: all have the same.
            projection = projection or self._registry.get(request.projection)
            head = await settled_head(self._engine, target, beat)
            behind = 0
            if not stale:
                position = source.position or 0
                behind = await count_between(connection, projection, position, head)
            number = target.generation
            if copied:
                number = 1 + await generations.highest(connection, projection.name)
            plan = Plan(
                run_id=begin.run_id,
                projection=projection.name,
                version=projection.version,
                generation=number,
                atomic=True,
                position=source.position or 0,
                head=head,
                partitions=0,
                max_concurrency=1,
                batch_size=batch_size_of(projection),
                total_events=behind,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                swap_patience_seconds=self._settings.swap_patience_seconds,
                note=_note(source, projection, stale=stale),
                restores=not copied,
                stale=stale,
                copies=target.generation if copied else None,
                snapshot=None if source.kept is None else source.kept.id,
                snapshot_version=None if source.version == projection.version else source.version,
                poison=projection.backfill.poison(Poison()),
            )
            shown = await preview(connection, projection, plan, active, exact=False)
        plan = plan.shown_as(shown)
        require_none_refused(shown.refused, projection.table.fullname)

        async def write(connection: AsyncConnection) -> None:
            # Retention looks at the lease under this lock before it drops a generation.
            still = await generations.get(connection, plan.projection, target.generation, lock=True)
            gone = still is None or still.status == generations.DISCARDED
            if source.kept is None:
                gone = gone or (still is not None and still.status != target.status)
            else:
                # Retention looks for the plan under this lock before it drops a snapshot.
                gone = gone or await kept.get(connection, source.kept.id, lock=True) is None
            if gone:
                why = "" if copied else ", its time was over"
                raise InvalidRequest(
                    f"{source} of {plan.projection!r} has just been dropped{why}: roll back to "
                    "another"
                )
            if plan.copies is not None:
                await make_copy(connection, plan, projection)

        return await self._record(plan, "Rollback", request, write)

    def _require_enabled(self, target: Generation) -> None:
        if not self._registry.get(target.projection).backfill.enable_rollback:
            raise InvalidRequest(
                f"projection {target.projection!r}: expected one that can be rolled back, it "
                "declares enable_rollback=False: roll back to a snapshot, or leave that out"
            )

    def _why_stale(self, request: RollbackRequest, source: Source) -> str:
        known = ", ".join(str(v) for v in self._registry.versions(request.projection))
        target, what = source.generation, f"{source} of {request.projection!r}"
        if source.copied:
            other = "" if source.kept is None else ", or give create= and restore= to its snapshots"
            return (
                f"{what} is a snapshot of version {source.version}, whose handlers are not "
                f"registered (registered: {known}): register that version beside the present one"
                f"{other}; a snapshot cannot be put live without them, with allow_stale neither"
            )
        if target.version == UNMANAGED:
            why = f"{what} was there before Refold: nothing is known that could bring it up to date"
        else:
            why = (
                f"{what} was built by version {target.version}, whose handlers are not registered "
                f"(registered: {known}): register that version beside the present one"
            )
        return (
            f"{why}; or set allow_stale to put it live as it is, at position "
            f"{'unknown' if target.position is None else target.position}"
        )


async def _target(connection: AsyncConnection, request: RollbackRequest) -> Generation:
    """The generation to go back to, or the snapshot that is named.

    Raises:
        InvalidRequest: There is none such; the message lists those there are.
    """
    retained = await generations.replaced(connection, request.projection)
    frozen = await copies.newest_first(connection, request.projection)
    named = [g for g in frozen if g.generation == request.to_generation]
    return named[0] if named else _chosen(request, retained, frozen)


def _chosen(
    request: RollbackRequest, retained: list[Generation], frozen: list[Generation]
) -> Generation:
    fits = [
        g
        for g in retained
        if request.to_generation in (None, g.generation) and request.to_version in (None, g.version)
    ]
    if fits:
        return fits[0]
    there = _listed(retained)
    if request.to_generation is not None:
        raise InvalidRequest(
            f"to_generation: expected one of the retained generations of {request.projection!r}, "
            f"{there}, or of its snapshots, {_listed(frozen)}, got {request.to_generation}"
        )
    if request.to_version is not None:
        raise InvalidRequest(
            f"to_version: expected the version of one of the retained generations of "
            f"{request.projection!r}, {there}, got {request.to_version}"
        )
    by_name = f" (snapshots, {_listed(frozen)}, only by to_generation)" if frozen else ""
    raise InvalidRequest(
        f"projection {request.projection!r}: expected a retained generation to go back to, found "
        f"none{by_name}: only what a rebuild or rollback has replaced can be brought back"
    )


def _listed(found: list[Generation]) -> str:
    return ", ".join(f"{g.generation} (version {g.version})" for g in found) or "none"


def _note(source: Source, projection: Projection, *, stale: bool) -> str | None:
    target = source.generation
    if source.kept is not None:
        other = ""
        if source.version != projection.version:
            other = f", made by version {source.version} and taken by version {projection.version}"
        return f"the snapshot of position {source.position}{other}; the snapshot stays"
    if target.status == SNAPSHOT:
        return (
            f"a copy of the snapshot, generation {target.generation}, of position "
            f"{target.position}; the snapshot stays"
        )
    assert target.status == RETAINED
    if not stale:
        return None
    return "put live as it is, at its old checkpoint: events since are not in it"
