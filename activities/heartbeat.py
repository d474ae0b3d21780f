"""Heartbeats that go on while an activity waits, and the moment to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities import waits
from refold.store import leases

# A cancellation comes as the answer to a heartbeat.
_LONGEST_SECONDS = 1.0


@dataclass
class Heartbeat:
    """What an activity shows of itself while it runs.

    Attributes:
        details: The latest news; they show in the Temporal UI under pending activities.
    """

    details: dict[str, Any] = field(default_factory=dict)

    def show(self, **details: Any) -> None:
        """Replaces the details; the next heartbeat takes them along.

        What is shown as ``waiting_for`` is told to the workflow, too, if it lasts.
        """
        self.details = details
        waits.say(details.get("waiting_for", []))


@asynccontextmanager
async def heartbeating(engine: AsyncEngine, run_id: str) -> AsyncIterator[Heartbeat]:
    """Sends heartbeats in the background until the context ends, and renews the run's lease.

    The database's checkpoints are the truth; heartbeats tell Temporal that somebody is at work,
    tell people what, and bring cancellation.
    """
    beat = Heartbeat()
    sender = asyncio.create_task(_send(engine, run_id, beat))
    try:
        yield beat
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender


async def _send(engine: AsyncEngine, run_id: str, beat: Heartbeat) -> None:
    timeout = activity.info().heartbeat_timeout
    every = min(timeout.total_seconds() / 3 if timeout else 3.0, _LONGEST_SECONDS)
    clock = asyncio.get_running_loop().time
    renewed = clock()
    while True:
        activity.heartbeat(beat.details)
        await asyncio.sleep(every)
        if clock() - renewed > leases.RENEWED_SECONDS:
            renewed = clock()
            # The work itself finds out when the database is gone; this must not end it.
            with contextlib.suppress(Exception):
                async with engine.begin() as connection:
                    # The work may hold the lease itself, for as long as it copies a table.
                    await connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
                    await leases.renew(connection, run_id)
