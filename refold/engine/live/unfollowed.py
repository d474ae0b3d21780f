"""Why a live table cannot be followed, or should be built anew, for people."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store import generations
from refold.store.generations import Generation


def why_not(active: Generation | None, versions: Iterable[int]) -> str:
    """Why a projection is not followed, and what to do.

    Args:
        active: Its live generation, if it has one.
        versions: Those that are registered.
    """
    if active is None:
        return "it has never been built: start a Rebuild"
    if active.position is None:
        return "its checkpoint is not known: start a Rebuild"
    known = ", ".join(map(str, versions))
    return (
        f"the live generation was built by version {active.version}, whose handlers are not "
        f"registered (registered: {known}): start a Rebuild"
    )


async def wants_rebuild(connection: AsyncConnection, live: Generation, newest: int) -> str | None:
    """Why a generation that is followed needs a rebuild; None when it does not.

    Where the newest version has been live, it was rolled back: nobody is told to undo that.

    Args:
        connection: Reads which generations there have been.
        live: The generation that is followed.
        newest: The highest version that is registered.
    """
    if live.version == newest:
        return None
    known = await generations.of_projection(connection, live.projection)
    if any(made.version == newest and made.swapped_at is not None for made in known):
        return None
    return (
        f"version {newest} is registered; version {live.version} is live, and followed: "
        "start a Rebuild"
    )
