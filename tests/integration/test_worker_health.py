"""What probes are told by a worker process: before it is ready, while it works, and as it ends."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from refold.errors import ConfigurationError
from refold.runtime.settings import Settings
from refold.worker.health import Health
from refold.worker.processes.place import numbered
from tests.support.databases import Database
from tests.support.ports import free_port
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import until


async def asked(port: int, path: str) -> tuple[int, str] | None:
    """The status and words of an answer; None when nobody answers."""
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"http://127.0.0.1:{port}{path}")
            return answer.status_code, answer.text
    return None


@pytest.mark.soak  # the suite has it with the services: tests/acceptance/test_services.py
async def test_a_worker_is_alive_at_once_and_ready_once_it_takes_tasks(
    client: Client, database: Database, tmp_path: Path
) -> None:
    port, temporal = free_port(), free_port()
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.team_read_models",
        REFOLD_HEALTH_PORT=str(port),
    )
    target = environment["TEMPORAL_ADDRESS"].rpartition(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", int(target[2]))
        await asyncio.gather(_copied(reader, outer), _copied(inner, writer))

    environment["TEMPORAL_ADDRESS"] = f"127.0.0.1:{temporal}"
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()

        async def says(path: str, status: int) -> None:
            async def is_said() -> bool:
                answer = await asked(port, path)
                return answer is not None and answer[0] == status

            await until(is_said)

        await says("/livez", 200)
        # Temporal is away: a restart of the worker would not bring it back.
        assert await asked(port, "/readyz") == (
            503,
            "not ready: it waits for PostgreSQL and Temporal\n",
        )
        assert await asked(port, "/else") == (404, "expected /livez or /readyz\n")
        server = await asyncio.start_server(pass_on, "127.0.0.1", temporal)
        await says("/readyz", 200)
        assert await worker.terminate() == 0
        server.close()
    assert await asked(port, "/livez") is None
    assert "Traceback" not in workers.output


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_port_that_is_taken_is_told_and_anything_may_be_sent() -> None:
    health, port = Health(), free_port()
    await health.serve(port)
    with pytest.raises(ConfigurationError, match="REFOLD_HEALTH_PORT: expected a port that is fr"):
        await Health().serve(port)
    for sent in (b"\r\n\r\n", b"\0" * 100_000, b"GET\r\n\r\n", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
    assert await asked(port, "/livez") == (200, "alive\n")
    health.close()


def test_each_of_several_processes_has_a_port_of_its_own() -> None:
    assert "REFOLD_HEALTH_PORT" not in numbered({}, 2)
    assert numbered({"REFOLD_HEALTH_PORT": "8089"}, 3)["REFOLD_HEALTH_PORT"] == "8091"
    with pytest.raises(ConfigurationError, match="REFOLD_HEALTH_PORT: expected one with a port"):
        numbered({"REFOLD_HEALTH_PORT": "65535"}, 2)
    assert Settings(health_port=None).health_port is None
