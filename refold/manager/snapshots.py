"""Snapshots from Python: made, listed, restored, dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from refold.errors import InvalidRequest, NoSnapshot, RunFailed
from refold.errors.codes import CANCELLED
from refold.manager.connection import Connection
from refold.manager.run.asked import request_of
from refold.manager.run.started_run import StartedRun
from refold.manager.run.watching import OnProgress
from refold.manager.runs import Runs
from refold.messages.run.life import BackfillResult
from refold.messages.run.status import RunStatus
from refold.messages.snapshots import SnapshotInfo
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.requests.fields import RequestFields
from refold.requests.runs import RollbackRequest, SnapshotRequest
from refold.runtime.missing_rights import naming_rights
from refold.store import generations
from refold.store.snapshots import copies, kept, listing, rebuilt


class Snapshots:
    """Makes, lists, restores and drops snapshots."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    async def create_snapshot(self, name: str) -> SnapshotInfo:
        """Copies a read model at its checkpoint, and waits for the end.

        Raises:
            ConfigurationError: The manager was made without a database.
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, was refused or cancelled; the message says why.
        """
        # Asked first: nothing is started that could not be told of.
        await self.get_snapshots(name)
        result = await self._runs.result(await self.start_snapshot(name))
        if result.status is not RunStatus.COMPLETED:
            why = f": {result.reason}" if result.reason else ""
            raise RunFailed(f"snapshot of {name!r}: {result.status}{why}", type=CANCELLED)
        return await self._snapshot(name, result.generation)

    async def start_snapshot(
        self,
        name: str,
        request: SnapshotRequest | Mapping[str, Any] | None = None,
        **fields: Unpack[RequestFields],
    ) -> StartedRun:
        """Starts `Snapshot` under its default workflow id and returns at once.

        Raises:
            ProjectionBusy: Another run writes the projection.
        """
        wanted = request_of(SnapshotRequest, name, request, fields)
        return await self._runs.begin("Snapshot", f"snapshot/{name}", name, wanted)

    async def get_snapshots(self, name: str) -> list[SnapshotInfo]:
        """A projection's snapshots, the newest first.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            return await listing.newest_first(connection, name)

    async def read_snapshot(self, projection: Projection, position: int) -> dict[Key, Row]:
        """The rows of a snapshot by key, all in memory; nothing is changed.

        Args:
            projection: In the version that made the snapshot.
            position: The snapshot's.

        Raises:
            ConfigurationError: The manager was made without a database.
            InvalidRequest: Another version made the snapshot.
            NoSnapshot: There is none of that position.
        """
        name = projection.name
        found = await self._snapshot(name, None, position)
        if found.version != projection.version:
            raise InvalidRequest(
                f"projection {name!r}: expected version {found.version}, which made the snapshot "
                f"of position {position}, got version {projection.version}"
            )
        engine = self._connection.engine.execution_options(isolation_level="REPEATABLE READ")
        async with naming_rights(engine), engine.begin() as connection:
            source = await generations.get(connection, name, found.generation)
            snapshot = None
            if found.kept_as == "changes":
                of_it = await kept.newest_first(connection, name)
                snapshot = next((one for one in of_it if one.described == found), None)
            if source is None or (found.kept_as == "changes" and snapshot is None):
                raise NoSnapshot(name, [], position, by="position")  # it has just been dropped
            return await rebuilt.read(connection, projection, source, snapshot)

    async def restore_from_snapshot(
        self,
        name: str,
        generation: int | None = None,
        *,
        position: int | None = None,
        as_version: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> BackfillResult:
        """Puts the rows of a snapshot live, with all events since, and waits for the end.

        Args:
            name: The projection.
            generation: Of a snapshot that is a copy, its number.
            position: Or: the position of any snapshot. With neither, the newest is restored.
            as_version: The version that takes it, by its `restore`; by default the version that
                made it if it is registered, else the newest.
            on_progress: See `result`.

        Raises:
            ConfigurationError: The manager was made without a database.
            NoSnapshot: There is none such.
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        started = await self.start_restore(
            name, generation, position=position, as_version=as_version
        )
        return await self._runs.result(started, on_progress)

    async def start_restore(
        self,
        name: str,
        generation: int | None = None,
        *,
        position: int | None = None,
        as_version: int | None = None,
        requested_by: str | None = None,
    ) -> StartedRun:
        """Starts a `Rollback` to a snapshot and returns at once; see `restore_from_snapshot`.

        Raises:
            ConfigurationError: The manager was made without a database.
            NoSnapshot: There is none such.
            ProjectionBusy: Another run writes the projection.
        """
        found = await self._snapshot(name, generation, position)
        named: dict[str, int] = {"to_generation": found.generation}
        if found.kept_as == "changes" or position is not None:
            named = {"to_snapshot": found.position}
        if as_version is not None:
            named["as_version"] = as_version
        request = RollbackRequest(projection=name, requested_by=requested_by, **named)
        return await self._runs.begin("Rollback", f"rollback/{name}", name, request)

    async def drop_snapshot(
        self, name: str, generation: int | None = None, *, position: int | None = None
    ) -> None:
        """Drops a snapshot.

        Args:
            name: The projection.
            generation: Of a snapshot that is a copy, its number.
            position: Or: the position of one that is kept as changes.

        Raises:
            ConfigurationError: The manager was made without a database.
            InvalidRequest: Neither is given, or both.
            NoSnapshot: There is none such.
            ProjectionBusy: A run holds the projection: it may be about to copy it.
        """
        if (generation is None) == (position is None):
            raise InvalidRequest("drop_snapshot: expected either a generation or a position")
        async with self._connection.begun() as connection:
            if position is not None:
                await kept.drop(connection, name, position)
            elif generation is not None:
                await copies.drop(connection, name, generation)

    async def _snapshot(
        self, name: str, generation: int | None, position: int | None = None
    ) -> SnapshotInfo:
        if generation is not None and position is not None:
            raise InvalidRequest("a snapshot: expected one of generation and position, got both")
        there = await self.get_snapshots(name)
        for one in there:
            copied = generation == one.generation and one.kept_as == "copy"
            if copied or position == one.position or (generation is None and position is None):
                return one
        if position is not None:
            raise NoSnapshot(name, [one.position for one in there], position, by="position")
        numbers = [one.generation for one in there if one.kept_as == "copy"]
        raise NoSnapshot(name, numbers, generation)
