"""Snapshots from Python: made, listed, restored, dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from refold.errors import NoSnapshot, RunFailed
from refold.errors.codes import CANCELLED
from refold.manager.connection import Connection
from refold.manager.run.asked import request_of
from refold.manager.run.started_run import StartedRun
from refold.manager.run.watching import OnProgress
from refold.manager.runs import Runs
from refold.messages.run.life import BackfillResult
from refold.messages.run.status import RunStatus
from refold.messages.snapshots import SnapshotInfo
from refold.requests.fields import RequestFields
from refold.requests.runs import RollbackRequest, SnapshotRequest
from refold.store import snapshots


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
            return [
                snapshots.described(one) for one in await snapshots.newest_first(connection, name)
            ]

    async def restore_from_snapshot(
        self,
        name: str,
        generation: int | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> BackfillResult:
        """Puts a copy of a snapshot live, with all events since, and waits for the end.

        Args:
            name: The projection.
            generation: The snapshot's; None for the newest.
            on_progress: See `result`.

        Raises:
            ConfigurationError: The manager was made without a database.
            NoSnapshot: There is none such.
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self._runs.result(await self.start_restore(name, generation), on_progress)

    async def start_restore(
        self, name: str, generation: int | None = None, *, requested_by: str | None = None
    ) -> StartedRun:
        """Starts a `Rollback` to a snapshot and returns at once.

        Raises:
            ConfigurationError: The manager was made without a database.
            NoSnapshot: There is none such.
            ProjectionBusy: Another run writes the projection.
        """
        found = await self._snapshot(name, generation)
        request = RollbackRequest(
            projection=name, to_generation=found.generation, requested_by=requested_by
        )
        return await self._runs.begin("Rollback", f"rollback/{name}", name, request)

    async def drop_snapshot(self, name: str, generation: int) -> None:
        """Drops a snapshot.

        Raises:
            ConfigurationError: The manager was made without a database.
            NoSnapshot: There is none such.
            ProjectionBusy: A run holds the projection: it may be about to copy it.
        """
        async with self._connection.engine.begin() as connection:
            await snapshots.drop(connection, name, generation)

    async def _snapshot(self, name: str, generation: int | None) -> SnapshotInfo:
        there = await self.get_snapshots(name)
        for one in there:
            if generation in (None, one.generation):
                return one
        raise NoSnapshot(name, [one.generation for one in there], generation)
