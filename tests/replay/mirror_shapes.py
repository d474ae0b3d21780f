"""Mirrors: one that is steered all the way, and one whose history is begun anew."""

from __future__ import annotations

from temporalio.client import Client

from refold.source.mirrors import MirroredEvent
from tests.replay.short_history import Handle, continuations
from tests.support.databases import Database
from tests.support.mirrored import numbered
from tests.support.mirroring import at_work, fresh, mirror, until_is, until_landed


async def mirrored(client: Client, database: Database) -> list[Handle]:
    """Limited, paused, resumed, stopped by an event, resumed, and cancelled."""
    with fresh() as source:
        source.events = [numbered(number) for number in range(60)]
        limits = {"batch_size": 10, "events_per_second": 40}
        async with at_work(client, database), mirror(client, database, **limits) as handle:
            await until_landed(database, 10)
            await handle.execute_update("set_limits", {"events_per_second": 80})
            await handle.signal("pause")
            await until_is(handle, "paused")
            await handle.signal("resume")
            await until_is(handle, "live")
            source.events.append(MirroredEvent("", {}, stream_id="x", version=1))
            await until_is(handle, "failed")
            source.events[-1] = None
            await handle.signal("resume")
            await until_is(handle, "live")
            await handle.signal("cancel", "enough")
            await handle.result()
    return [handle]  # type: ignore[list-item]


async def mirror_continued(client: Client, database: Database) -> list[Handle]:
    """Told so much that its history is begun anew; then paused, and cancelled by Temporal."""
    with fresh() as source:
        source.events = [numbered(number) for number in range(60)]
        async with at_work(client, database), mirror(client, database, batch_size=9) as handle:
            for size in range(1, 13):
                await handle.execute_update("set_limits", {"batch_size": size})
            await until_landed(database, 60)
            latest = client.get_workflow_handle(handle.id)
            await latest.signal("pause")
            told = await until_is(latest, "paused")
            assert (told.total_events, told.limits.batch_size) == (60, 12)
            await latest.cancel()
            chain = await continuations(client, handle)  # type: ignore[arg-type]
            await until_is(chain[-1], "cancelled")  # type: ignore[arg-type]
    return chain
