"""The settled head, as a run waits for it before it plans."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.step import Step
from refold.runtime.database import autocommit
from refold.source.head import SettledHead
from refold.store.generations import Generation

# A run with a checkpoint can begin at any settled position; a first build has to wait for one.
_SECONDS = 5.0


async def settled_head(engine: AsyncEngine, known: Generation | None, beat: Step) -> int:
    """A settled position, at or beyond a generation's checkpoint."""
    position = known.position if known is not None else None
    head = SettledHead(position)
    # Head and locks are looked up one after the other, each in a fresh snapshot.
    looking = autocommit(engine)
    async with looking.connect() as connection:
        return await head.wait(
            connection,
            waiting=lambda writers: beat.show(
                doing="waiting for open transactions that may still append",
                writers=[str(writer) for writer in writers],
            ),
            seconds=_SECONDS if position else None,
        )
