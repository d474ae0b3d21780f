"""Measuring what a run has to do: its events, cut into slices of keys."""

from __future__ import annotations

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.poison_events import totals_and_misfits
from refold.engine.planning.decision import follows_only
from refold.engine.planning.repaired_keys import RepairedKeys
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection
from refold.requests.poison_policy import Poison
from refold.requests.runs import BackfillRequest
from refold.source.keyed import side_keys
from refold.source.log import count_events
from refold.source.port.current import event_source
from refold.source.port.elsewhere import key_collation
from refold.source.slices import Bounds, key_bounds
from refold.store import selected_keys
from refold.store.side_keys.tables import SideTable

# A partition smaller than this is not worth an activity of its own.
_EVENTS_PER_PARTITION = 50_000


async def measure(
    connection: AsyncConnection,
    request: BackfillRequest,
    projection: Projection,
    *,
    position: int,
    run_id: str,
    keys: int | None,
    poison: Poison,
    letters_of: int | None,
    side: SideTable | None = None,
) -> tuple[Bounds | None, list[int], list[Letter]]:
    """Cuts the keys that are refolded into ranges, and counts their events.

    Args:
        connection: Sees the keys that were selected.
        request: What is done.
        projection: In the version that folds.
        position: Up to where keys are refolded (inclusive).
        run_id: Whose selected keys are refolded.
        keys: How many these are; None when all keys are refolded.
        poison: What is done with events whose key does not fit.
        letters_of: The generation whose dead letters there are already: the one that is written,
            or that is copied; None for none.
        side: Where the keys of a function are; None if it has none.

    Returns:
        The ranges, None when everything is followed; how many events each has; and the events
        whose key does not fit, to be set aside.

    Raises:
        PoisonEvent: The key of an event does not fit, and it is not set aside.
    """
    paths = projection.key_paths if side is None else side.parts
    if follows_only(request):
        return None, [0], []
    if paths is None:
        return (
            None,
            [await count_between(connection, projection, event_source().before, position)],
            [],
        )
    slices = slices_of(request, projection, position)
    counted = partial(
        totals_and_misfits,
        *(connection, projection),
        upto=position,
        poison=poison,
        generation=letters_of,
        side=side,
    )
    if keys is None:
        if side is None:
            bounds = await key_bounds(connection, projection, upto=position, slices=slices)
        else:
            bounds = await side_keys.bounds(connection, side, upto=position, slices=slices)
        return bounds, *await counted(bounds, among=None)
    slices = min(slices, keys)
    bounds = await selected_keys.bounds(
        connection, paths, run_id, slices=slices, collation=key_collation()
    )
    totals, misfits = [0] * len(bounds), []
    async for among in RepairedKeys(connection, projection, run_id, side).all():
        more, found = await counted(bounds, among=among)
        totals = [total + one for total, one in zip(totals, more, strict=True)]
        misfits += found
    return bounds, totals, misfits


async def count_between(
    connection: AsyncConnection, projection: Projection, after: int, upto: int
) -> int:
    """How many events the projection reads above one position (exclusive) up to another."""
    if upto <= after:
        return 0
    types, since = projection.event_types, projection.start_from
    return await count_events(connection, types=types, after=after, upto=upto, since=since)


def slices_of(request: BackfillRequest, projection: Projection, upto: int) -> int:
    """Into how many slices keys, or positions up to a position, are cut."""
    if projection.backfill.partitions is not None:
        return projection.backfill.partitions
    most = request.max_concurrency or projection.backfill.max_concurrency
    return max(1, min(most, -(-upto // _EVENTS_PER_PARTITION)))
