"""A worker keeps nothing of what is done: objects do not grow in number from segment to segment."""

from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest
from temporalio.testing import ActivityEnvironment

from refold.activities.live import LiveActivities
from refold.engine.live.apart import Storage
from refold.messages.live import LiveSegment
from refold.store.checkpoints.stores import CheckpointStores
from refold.worker.chores.garbage import Garbage
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, write

SEGMENTS = 20
# Objects of each type that may be more: fewer than one a segment.
MOST_MORE = 15
# What is kept shows in each of these rounds; a connection that is opened anew, in one.
ROUNDS = 3


@pytest.mark.usefixtures("counters_built")
async def test_objects_do_not_grow_with_the_segments_of_a_live_projection(
    database: Database,
) -> None:
    registry = registry_of(counters())
    storage = Storage(CheckpointStores(database.settings))
    following = LiveActivities(database.engine, registry, storage)
    # Connections learn their statements, the report its latest system events.
    await segments(following, database, 12)
    grown: list[dict[str, int]] = []
    for _ in range(ROUNDS):
        before = census()
        await segments(following, database, SEGMENTS)
        more = census() - before
        grown.append({name: n for name, n in more.items() if n > MOST_MORE})
        if not grown[-1]:
            break
    assert not grown[-1], grown
    assert await assert_oracle(database.engine, counters())


async def segments(following: LiveActivities, database: Database, count: int) -> None:
    """Follows some new events, each in a segment of its own."""
    followed = 0
    for number in range(count):
        await write(database.engine, some(keys=10, each=1, start_at=number))
        segment = LiveSegment(projection="counters", seconds=0.1)
        report = await ActivityEnvironment().run(following.follow_live, segment)
        followed += report.events
    assert followed > 0


def census() -> Counter[str]:
    """The objects that are in use, by type."""
    gc.collect()
    return Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())


async def test_garbage_that_has_become_old_is_collected() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    knot = Knot()
    for generation in (0, 1, 2):
        gc.collect(generation)
    gone = weakref.ref(knot)
    del knot
    await Garbage().run_once()
    assert gone() is None
