"""The monitoring example of docs/system-events.md, run as it stands there."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Projection
from refold.projection.registry import Registry
from refold.system_events.handlers import SystemHandler
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import dispatching, ended_after, recorded, until_position, until_recorded
from tests.support.runs import queue, run, until, working, write

PAGE = Path(__file__).parents[2] / "docs/system-events.md"


class Alerts:
    """A real HTTP server that is told alerts; it refuses the first one."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.search(r"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        body = orjson.loads(await reader.readexactly(length))
        key = re.search(r"idempotency-key: (\S+)", head, re.IGNORECASE)
        status = "200 OK"
        if not self.refused:
            self.refused += 1
            status = "503 Service Unavailable"
        else:
            self.told.append((key[1] if key else "", body["text"]))
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def alerts_at() -> AsyncIterator[tuple[Alerts, str]]:
    alerts = Alerts()
    server = await asyncio.start_server(alerts.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield alerts, f"http://127.0.0.1:{port}/alerts"


def example(alerts: str) -> list[SystemHandler]:
    """The page's handlers, told where alerts go."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "@on_system_event" in block]
    module = ModuleType("monitoring")
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    module.ALERTS = alerts  # type: ignore[attr-defined]
    return [value for value in vars(module).values() if isinstance(value, SystemHandler)]


def checked() -> Projection:
    """A read model whose table refuses a sum, until somebody changes that."""
    projection = counters()

    @projection.on("Doubted")
    def doubted(row: dict[str, Any] | None, event: Any) -> dict[str, Any]:
        return {"count": 1, "sum": -1, "last": 0}

    return projection


async def test_it_alerts_restarts_after_transient_errors_and_marks(
    client: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="monitoring")
    projection = checked()
    await write(database.engine, some())
    async with alerts_at() as (alerts, address):
        registry = Registry([projection], example(address))
        async with (
            ended_after(client, "projection/counters"),
            working(client, database, registry),
            dispatching(client, database, registry),
        ):
            await _begun(database)
            await run(client, database, "Rebuild", "counters")
            async with database.engine.begin() as connection:
                check = "ALTER TABLE counters ADD CONSTRAINT doubts CHECK (sum >= 0)"
                await connection.execute(text(check))
            await client.start_workflow(
                "Projection",
                {"projection": "counters"},
                id="projection/counters",
                task_queue=queue(database),
            )
            await write(database.engine, [("d", "Doubted", {"key": "k900"})])
            failed = await until_recorded(database, "ProjectionFailed")
            asked = await until_recorded(database, "ProjectionRestartRequested")
            assert (asked.data["retry_attempt"], asked.data["delay_seconds"]) == (1, 5.0)
            # What was in the way is gone; the restart comes five seconds after the failure, sooner
            # than the projection would try by itself.
            async with database.engine.begin() as connection:
                await connection.execute(text("ALTER TABLE counters DROP CONSTRAINT doubts"))
            await until_position(database, 201)
            assert failed.data["error_type"] == "PoisonEvent"

            async def told() -> bool:
                return bool(alerts.told)

            await until(told)
    key, said = alerts.told[0]
    assert key == f"counters/{failed.number}"
    assert "projection counters failed: " in said
    assert "cannot take event 201" in said
    assert "PostgreSQL refuses its row in table 'counters'" in said
    assert alerts.refused == 1, "it was told again after it had refused"
    assert "counters: Rebuild up to position 200" in caplog.text
    starts = [event for event in await recorded(database) if event.type == "ProjectionStarted"]
    waited = (starts[-1].recorded_at - failed.recorded_at).total_seconds()
    assert 4 < waited < 10


async def _begun(database: Database) -> None:
    async def there() -> bool:
        async with database.engine.connect() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM refold.deliveries"))
        return bool(count == 3)

    await until(there)
