"""Several projections at once, so that a table of cases shares one database and its runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from temporalio.client import Client

from tests.support.databases import Database
from tests.support.runs import start


async def run_all(
    client: Client, database: Database, kind: str, names: Iterable[str], **fields: Any
) -> None:
    """Runs one workflow for each projection, all at the same time, to their ends."""
    handles = [
        await start(
            client, database, kind, {"projection": name, **fields}, workflow_id=f"{uuid4()}"
        )
        for name in names
    ]
    await asyncio.gather(*[handle.result() for handle in handles])
