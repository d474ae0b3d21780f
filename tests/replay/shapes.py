"""One run of each shape that a history can have, on real servers, for the recorder and tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from refold import Snapshots
from refold.messages.run.life import Progress
from refold.messages.step_failures import SIGNAL
from tests.replay.keys_shape import keys_of_a_function
from tests.replay.mirror_shapes import mirror_continued, mirrored
from tests.replay.short_history import Handle, continuations
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.failing import refusing
from tests.support.runs import start, until, working, write
from tests.support.watching import until_batches

Shape = Callable[[Client, Database], Awaitable[list[Handle]]]


async def ended(handle: Handle) -> None:
    with suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 150)


async def rebuild(client: Client, database: Database) -> list[Handle]:
    await write(database.engine, some(40))
    async with working(client, database, registry_of(counters(batch_size=7, partitions=3))):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        await ended(handle)
    return [handle]


async def listed(client: Client, database: Database) -> list[Handle]:
    """On a server that has the search attributes, as the recorder's has."""
    return await rebuild(client, database)


async def backfill_in_place(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    async with working(client, database, registry_of(counters(batch_size=7, partitions=3))):
        request = {"projection": "counters", "criteria": "full_rebuild"}
        handle = await start(client, database, "Backfill", request)
        await ended(handle)
    return [handle]


async def _selected(client: Client, database: Database, **more: Any) -> list[Handle]:
    await rebuild(client, database)
    async with working(client, database, registry_of(counters(batch_size=7, partitions=3))):
        request = {"projection": "counters", "from_position": 190, **more}
        handle = await start(client, database, "Backfill", request)
        await ended(handle)
    return [handle]


async def selected_in_place(client: Client, database: Database) -> list[Handle]:
    return await _selected(client, database)


async def selected_on_a_copy(client: Client, database: Database) -> list[Handle]:
    return await _selected(client, database, is_atomic=True)


async def nothing_selected(client: Client, database: Database) -> list[Handle]:
    return await _selected(client, database, is_atomic=True, predicate="false")


async def controlled(client: Client, database: Database) -> list[Handle]:
    """Paused before its plan, resumed, limited up and down, paused again, resumed."""
    await write(database.engine, some(40))

    async def is_(status: str) -> bool:
        return bool(await handle.query("status") == status)

    policy = {"batch_size": 3, "partitions": 4, "max_concurrency": 2, "events_per_second": 100}
    handle = await start(client, database, "Rebuild", {"projection": "counters"})
    await handle.signal("pause")
    async with working(client, database, registry_of(counters(**policy))):
        await until(lambda: is_("paused"))
        await handle.signal("resume")
        await until_batches(database, 3)
        await handle.execute_update("set_limits", {"max_concurrency": 1})
        await handle.execute_update("set_limits", {"max_concurrency": 3, "batch_size": 5})
        await handle.signal("pause")
        await until(lambda: is_("paused"))
        await handle.execute_update("set_limits", {"events_per_second": 0})
        await handle.signal("resume")
        await ended(handle)
    return [handle]


async def incremental_update(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    await write(database.engine, some(40, start_at=500))
    async with working(client, database, registry_of(counters())):
        request = {"projection": "counters", "criteria": "incremental_update"}
        handle = await start(client, database, "Backfill", request)
        await ended(handle)
    return [handle]


async def _slow(
    client: Client, database: Database, end: Callable[[Handle], Awaitable[None]]
) -> list[Handle]:
    await write(database.engine, some(600))
    async with working(client, database, registry_of(counters(batch_size=1, partitions=2))):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        await until_batches(database, 5)
        await end(handle)
        await ended(handle)
    return [handle]


async def cancelled_by_signal(client: Client, database: Database) -> list[Handle]:
    return await _slow(client, database, lambda handle: handle.signal("cancel", "enough"))


async def cancelled_by_temporal(client: Client, database: Database) -> list[Handle]:
    return await _slow(client, database, lambda handle: handle.cancel())


async def poison_event(client: Client, database: Database) -> list[Handle]:
    await write(database.engine, [*some(10), ("bad", "Broken", {"key": "k003"})])
    async with working(client, database, registry_of(counters(partitions=2))):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        await ended(handle)
    return [handle]


async def _awaiting(handle: Handle) -> None:
    async def asked() -> bool:
        return bool(await handle.query("status") == "awaiting_approval")

    await until(asked)


async def _asked(client: Client, database: Database, signal: str) -> list[Handle]:
    await write(database.engine, some(40))
    async with working(client, database, registry_of(counters(batch_size=7, partitions=3))):
        request = {"projection": "counters", "approval": "manual"}
        handle = await start(client, database, "Rebuild", request)
        await _awaiting(handle)
        await handle.signal(signal)
        await ended(handle)
    return [handle]


async def approved(client: Client, database: Database) -> list[Handle]:
    return await _asked(client, database, "approve")


async def rejected(client: Client, database: Database) -> list[Handle]:
    return await _asked(client, database, "reject")


async def rollback(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    await rebuild(client, database)
    async with working(client, database, registry_of(counters())):
        handle = await start(client, database, "Rollback", {"projection": "counters"})
        await ended(handle)
    return [handle]


async def snapshot(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    async with working(client, database, registry_of(counters())):
        handle = await start(client, database, "Snapshot", {"projection": "counters"})
        await ended(handle)
    return [handle]


async def restored(client: Client, database: Database) -> list[Handle]:
    await snapshot(client, database)
    await write(database.engine, some(40, start_at=500))
    async with working(client, database, registry_of(counters())):
        request = {"projection": "counters", "to_generation": 2}
        handle = await start(client, database, "Rollback", request)
        await ended(handle)
    return [handle]


async def checkpoint_reset(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    async with working(client, database, registry_of(counters(batch_size=7, partitions=3))):
        handle = await start(client, database, "Rebuild", {"projection": "counters", "as_of": 90})
        await ended(handle)
    return [handle]


async def dry_run(client: Client, database: Database) -> list[Handle]:
    await write(database.engine, some(40))
    async with working(client, database, registry_of(counters())):
        request = {"projection": "counters", "dry_run": True}
        handle = await start(client, database, "Rebuild", request)
        await ended(handle)
    return [handle]


async def brought_back(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    await write(database.engine, [("bad", "Broken", {"key": "k003"})])
    async with working(client, database, registry_of(counters())):
        request = {"projection": "counters", "rollback_on_failure": True}
        handle = await start(client, database, "Backfill", request)
        await ended(handle)
    return [handle]


async def live(client: Client, database: Database) -> list[Handle]:
    await rebuild(client, database)
    async with working(client, database, registry_of(counters())):
        handle = await start(client, database, "Projection", {"projection": "counters"})

        async def follows(position: int) -> bool:
            return bool(await handle.query("checkpoint") == position)

        await until(lambda: follows(200))
        await handle.signal("stop")
        await write(database.engine, [("bad", "Broken", {"key": "k003"})])

        async def is_(status: str) -> bool:
            return bool(await handle.query("status") == status)

        await until(lambda: is_("stopped"))
        await handle.signal("start")
        await until(lambda: is_("failed"))
        await handle.signal("restart")
        await handle.cancel()
        await ended(handle)
    return [handle]


async def live_by_itself(client: Client, database: Database) -> list[Handle]:
    """It is built, and copied, without being asked."""
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100))
    await write(database.engine, some(40))
    async with working(client, database, registry_of(projection.backfill_from_beginning())):
        handle = await start(client, database, "Projection", {"projection": "counters"})

        async def copied() -> bool:
            return bool(await handle.query("snapshots"))

        await until(copied)
        await handle.cancel()
        await ended(handle)
    return [handle]


async def retried(client: Client, database: Database) -> list[Handle]:
    """A step is refused and tried again; its workflow is told, and told nonsense besides."""
    await write(database.engine, some(40))

    async def told() -> bool:
        return (await handle.query("progress", result_type=Progress)).failing is not None

    async with working(client, database, registry_of(counters(batch_size=7, partitions=2))):
        async with refusing(database, "refolding", "40001", "s3cr3t"):
            handle = await start(client, database, "Rebuild", {"projection": "counters"})
            await until(told)
            for said in NONSENSE:
                await handle.signal(SIGNAL, args=said)
            await until(told)
        await ended(handle)
    return [handle]


NONSENSE: list[list[Any]] = [
    [],
    [None],
    ["text", 5],
    [{"step": "refolding partition 1"}],
    [{"step": "refolding partition 1", "type": 5, "message": [], "attempts": "many"}],
    [{"step": "no such step", "type": "E", "message": "m", "attempts": 3}],
    [{"step": "refolding partition 1", "type": "E", "message": "m", "attempts": -1}],
    [[[[[]]]]],
]


async def refused_input(client: Client, database: Database) -> list[Handle]:
    async with working(client, database, registry_of(counters())):
        handle = await start(client, database, "Backfill", {"projection": 5})
        await ended(handle)
    return [handle]


async def continued_as_new(client: Client, database: Database) -> list[Handle]:
    short = replace(
        database, settings=database.settings.model_copy(update={"segment_seconds": 0.05})
    )
    await write(database.engine, some(150))
    async with working(client, short, registry_of(counters(batch_size=1, partitions=2))):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        await ended(handle)
    chain = await continuations(client, handle)
    return [*chain[:2], chain[-1]]  # those between are like the second


SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        rebuild,
        listed,
        backfill_in_place,
        selected_in_place,
        selected_on_a_copy,
        nothing_selected,
        keys_of_a_function,
        controlled,
        incremental_update,
        cancelled_by_signal,
        cancelled_by_temporal,
        poison_event,
        refused_input,
        retried,
        approved,
        rejected,
        rollback,
        snapshot,
        restored,
        checkpoint_reset,
        dry_run,
        brought_back,
        live,
        live_by_itself,
        mirrored,
    )
}

CONTINUED: dict[str, Shape] = {
    shape.__name__: shape for shape in (continued_as_new, mirror_continued)
}
"""On a server of `short_history_server`."""
