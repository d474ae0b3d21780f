"""Projections that set poison events aside, and what is known of their dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import BackfillPolicy, Event, Projection, Row
from refold.errors import PoisonEvent
from refold.projection.dead_letters import DeadLetter
from refold.projection.key import Key
from refold.requests.poison_policy import OnPoison
from refold.store import dead_letters, generations
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.runs import checkpoint, events_upto, rows_of

# An event that no handler takes, and one whose key does not fit.
BAD = ("bad", "Broken", {"key": "k020"})
MISFIT = ("bad", "Added", {"key": {"no": "key"}, "n": 1})


def fold_setting_aside(projection: Projection, events: Iterable[Event]) -> dict[Key, Row]:
    """`Projection.fold`, but each key up to its first poison event.

    Events whose key does not fit, or whose key function raises, are passed over.

    Args:
        projection: Whose handlers fold.
        events: In order of position; types without a handler are passed over.
    """
    rows: dict[Key, Row | None] = {}
    held: set[Key] = set()
    for event in events:
        if event.type not in projection.handlers:
            continue
        try:
            keys = projection.rows.keys_of(event)
        except PoisonEvent:
            continue
        for key in keys:
            if key in held:
                continue
            try:
                fields = projection.rows.key_fields(key)
                rows[key] = projection.rows.apply(rows.get(key), event, fields)
            except PoisonEvent:
                held.add(key)
    return {key: row for key, row in rows.items() if row is not None}


def aside(most: int = 100, **policy: Any) -> Projection:
    """The read model ``counters`` with the policy of setting aside."""
    made = counters()
    backfill = BackfillPolicy(
        **{"batch_size": 40, "partitions": 3, **policy},
        on_poison=OnPoison.SET_ASIDE,
        max_dead_letters=most,
    )
    made.policies.set_own(backfill=backfill)
    return made


def mended(**policy: Any) -> Projection:
    """The same, with a handler that takes what was poison."""
    made = aside(**policy)
    made.handlers["Broken"] = lambda row, event: row
    return made


async def letters(database: Database, projection: str = "counters") -> list[DeadLetter]:
    """The letters of the active generation."""
    async with database.engine.connect() as connection:
        active = await generations.active(connection, projection)
        if active is None:
            return []
        return await dead_letters.listed(connection, projection, active.generation)


async def held(database: Database, projection: str = "counters") -> dict[Any, int]:
    """Which keys are held, and by which event."""
    found = await letters(database, projection)
    return {one.key and tuple(one.key): one.position for one in found}


async def assert_held_oracle(database: Database, projection: Projection) -> dict[Key, Any]:
    """Checks row by row: each key is folded up to its first poison event."""
    position = await checkpoint(database.engine, projection)
    read = await events_upto(database.engine, projection, position)
    rows = await rows_of(database.engine, projection)
    assert rows == fold_setting_aside(projection, read)
    return rows


async def failed(handle: Any) -> ApplicationError:
    """Waits for a run to fail; returns its failure."""
    with pytest.raises(WorkflowFailureError) as raised:
        await asyncio.wait_for(handle.result(), 60)
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause
