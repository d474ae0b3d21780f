"""Measuring what a run has to do: its events, cut into slices of keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.poison_events import totals_and_misfits
from refold.engine.planning.decision import Way
from refold.engine.planning.key_selection import Selected
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection
from refold.requests.runs import BackfillRequest
from refold.source.log import count_events
from refold.source.slices import Bounds, key_bounds
from refold.store import selected_keys

# A partition smaller than this is not worth an activity of its own.
_EVENTS_PER_PARTITION = 50_000


@dataclass
class Work:
    """What there is to do: refolding up to `position`, following from there on.

    Attributes:
        position: The last position that is refolded (inclusive).
        bounds: The ranges of keys that are refolded; None when everything is followed.
        totals: How many events each range has.
        beyond: How many events are to be followed.
        misfits: Events whose key does not fit, to be set aside.
    """

    position: int
    bounds: Bounds | None
    totals: list[int]
    beyond: int
    misfits: list[Letter] = field(default_factory=list)


async def measure(
    connection: AsyncConnection,
    request: BackfillRequest,
    way: Way,
    *,
    position: int,
    head: int,
    found: Selected | None,
    letters_of: int | None,
) -> Work:
    """Counts the events, and cuts the keys into slices.

    Args:
        connection: Sees the keys that were selected.
        request: What is asked for.
        way: How it is carried out.
        position: Up to where keys are refolded (inclusive).
        head: Up to where events are followed from there (inclusive).
        found: The keys that are repaired; None for all.
        letters_of: The generation whose dead letters there are already: the one that is written,
            or that is copied; None for none.

    Raises:
        PoisonEvent: The key of an event does not fit, and it is not set aside.
    """
    projection, paths = way.projection, way.projection.key_paths
    beyond = await _events(connection, projection, position, head)
    if way.follows_only:
        return Work(position, None, [0], beyond)
    if paths is None:
        return Work(position, None, [await _events(connection, projection, 0, position)], beyond)
    slices, among = _slices(request, projection, position), None
    if found is None:
        bounds = await key_bounds(connection, projection, upto=position, slices=slices)
    else:
        slices = min(slices, found.keys)
        bounds = await selected_keys.bounds(connection, paths, found.run_id, slices=slices)
        among = selected_keys.of_run(paths, found.run_id)
    totals, misfits = await totals_and_misfits(
        connection,
        projection,
        bounds,
        upto=position,
        among=among,
        poison=request.poison(projection.backfill),
        generation=letters_of,
    )
    return Work(position, bounds, totals, beyond, misfits)


def _slices(request: BackfillRequest, projection: Projection, upto: int) -> int:
    if projection.backfill.partitions is not None:
        return projection.backfill.partitions
    most = request.max_concurrency or projection.backfill.max_concurrency
    return max(1, min(most, -(-upto // _EVENTS_PER_PARTITION)))


async def _events(
    connection: AsyncConnection, projection: Projection, after: int, upto: int
) -> int:
    if upto <= after:
        return 0
    types, since = projection.event_types, projection.start_from
    return await count_events(connection, types=types, after=after, upto=upto, since=since)
