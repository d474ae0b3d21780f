"""A database in which a run has built `counters`, for others to be copied from."""

from __future__ import annotations

from temporalio.client import Client

from refold.stack.postgres import EmbeddedPostgres
from tests.support.counters import counters, registry_of
from tests.support.databases import become_template, make_database
from tests.support.events import some
from tests.support.runs import run, working, write

COUNTERS_BUILT = "refold_counters_built"


async def make_counters_built(server: EmbeddedPostgres, client: Client) -> None:
    """Appends 200 events, rebuilds `counters` of them, and keeps that database as a template."""
    made = await make_database(server)
    await write(made.engine, some())
    async with working(client, made, registry_of(counters())):
        await run(client, made, "Rebuild", "counters")
    await become_template(server, made, COUNTERS_BUILT)
