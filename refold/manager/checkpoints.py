"""Checkpoints from Python: asked for, and set back."""

from __future__ import annotations

from refold.manager.connection import Connection
from refold.manager.run.started_run import StartedRun
from refold.manager.run.watching import OnProgress
from refold.manager.runs import Runs
from refold.messages.run.life import BackfillResult
from refold.requests.runs import BackfillRequest
from refold.store import generations


class Checkpoints:
    """Tells the checkpoints of read models, and sets them back."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    async def get_current_checkpoint(self, name: str) -> int | None:
        """The position up to which readers see all events; None when nothing was built yet.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            active = await generations.active(connection, name)
        return active.position if active is not None else None

    async def get_checkpoint_place(self, name: str) -> str | None:
        """Which store keeps the checkpoint, such as ``redis://host:6379/0``.

        None when it is in the database: beside its rows, or at home for a run.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            active = await generations.active(connection, name)
        return active.away["place"] if active is not None and active.away is not None else None

    async def reset_checkpoint(
        self, name: str, position: int, *, on_progress: OnProgress | None = None
    ) -> BackfillResult:
        """Sets a read model back to how it was at a position, and waits for the end.

        Readers get the fold of the events up to there, and that is the checkpoint: a live
        projection, or an incremental update, goes on from there, event by event.

        Args:
            name: The projection.
            position: From 0 to the checkpoint, inclusive.
            on_progress: See `result`.

        Raises:
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self._runs.result(await self.start_reset(name, position), on_progress)

    async def start_reset(
        self, name: str, position: int, *, requested_by: str | None = None
    ) -> StartedRun:
        """Starts a `Rebuild` as of a position and returns at once.

        Raises:
            ProjectionBusy: Another run writes the projection.
        """
        request = BackfillRequest(projection=name, as_of=position, requested_by=requested_by)
        return await self._runs.begin("Rebuild", f"rebuild/{name}", name, request)
