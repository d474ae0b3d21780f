"""Why a live table cannot be followed, for people."""

from __future__ import annotations

from collections.abc import Iterable

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
