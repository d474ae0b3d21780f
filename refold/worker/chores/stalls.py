"""Stalls: a session that a frozen worker keeps open is ended when others wait for its locks."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import MissingRight
from refold.runtime.database import autocommit
from refold.store.sessions.silent_sessions import end_sessions, stalling_sessions
from refold.worker.chores.chore import Looked

logger = logging.getLogger(__name__)

_SECONDS = 2.0
# Longer than a batch that computes in the midst of its transaction.
_GRACE_SECONDS = 10.0


class Stalls:
    """Ends sessions of workers that are frozen or cut off, wherever they were stopped.

    Steps look for their own predecessor first, see `refold.store.sessions.takeover`; this is for
    all else: a row that is not there yet, a table that is being made, a lock of a helper.

    Args:
        engine: The database.
    """

    name = "stalls"
    seconds = _SECONDS

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run_once(self) -> Looked:
        """Looks who waits for whom, now; see `Chore`."""
        looked = Looked()
        looking = autocommit(self._engine)
        async with looking.connect() as connection:
            holders = await stalling_sessions(connection)
        for pid in holders:
            try:
                ended = await end_sessions(
                    self._engine, [pid], grace_seconds=_GRACE_SECONDS, only_silent=True
                )
            except MissingRight as error:
                looked.cannot("", "a stopped worker's session", str(error))
                continue
            for one in ended:
                logger.warning(
                    "a stopped worker held others up: ended its connection (pid %d)", one
                )
                looked.done.append(f"pid {one}")
        return looked
