"""With the codec on, Temporal's database holds no event datum, key or row that can be read."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from typer.testing import CliRunner, Result

from refold.cli.main import app
from refold.errors import UnreadablePayload
from refold.manager.projections import ProjectionManager
from refold.messages.run.diff import Diff
from refold.messages.run.life import Progress
from refold.projection.registry import Registry
from refold.runtime.payloads.codec import ENCODING
from refold.runtime.payloads.converter import make_data_converter
from refold.runtime.payloads.keys import add_key, load_keys
from tests.support.careless import careless
from tests.support.codec import serving
from tests.support.databases import Database
from tests.support.histories import all_kept
from tests.support.kept_on_disk import files_of, server_on_disk
from tests.support.live import live, until_status
from tests.support.processes import clean_environment
from tests.support.runs import assert_oracle, checkpoint, queue, run, start, until, working, write
from tests.support.soaking import soak

SECRET = "s3cr3t"
REGISTRY = Registry([careless])

Kept = tuple[Client, Path, Path]


@pytest.fixture(scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    """A client of a server whose database is a file, its directory, and a key file."""
    directory = tmp_path_factory.mktemp("temporal")
    key_file = tmp_path_factory.mktemp("keys") / "payload.keys"
    add_key(key_file)
    async with server_on_disk(directory) as plain:
        yield plain, directory, key_file


async def connected(plain: Client, key_file: Path | None) -> Client:
    """A client with the keys of a file, or with none."""
    target = plain.service_client.config.target_host
    return await Client.connect(target, data_converter=make_data_converter(key_file))


def noted(number: int, note: str = f"{SECRET}-note") -> tuple[str, str, dict[str, Any]]:
    data = {"key": f"{SECRET}-key-{number}", "email": f"{SECRET}-{number}@home", "note": note}
    return (f"{SECRET}-stream-{number}", "Noted", data)


POISON = (f"{SECRET}-stream-0", "Poison", {"key": f"{SECRET}-key-0", "note": SECRET})
PREDICATE = f'event.data.note == "{SECRET}-changed"'


async def test_no_datum_key_or_row_can_be_read_in_temporals_database(
    kept: Kept, database: Database
) -> None:
    plain, directory, key_file = kept
    client = await connected(plain, key_file)
    await write(database.engine, [noted(number) for number in range(20)])
    async with working(client, database, REGISTRY):
        await run(client, database, "Rebuild", "careless")
        async with live(client, database, projection="careless") as following:
            await write(database.engine, [noted(3, f"{SECRET}-changed")])

            async def followed() -> bool:
                return await checkpoint(database.engine, careless) == 21

            await until(followed)
            await run(
                client,
                database,
                "Backfill",
                "careless",
                criteria="custom_predicate",
                predicate=PREDICATE,
                requested_by="ann",
            )
            await until_status(following, "live")
        await _wait_for_approval(client, database, key_file)
        await write(database.engine, [POISON])
        # Both see all that they saw before, for they have the key.
        failed = await _failed(client, database)
        assert f"{SECRET}-stream-0" in failed
        aside = await run(client, database, "Rebuild", "careless", on_poison="set_aside")
        assert aside.dead_letters == 1
        shown = await _refold(client, database, key_file, "dead-letters", "list", "careless")
        assert f"{SECRET}-key-0" in shown.output
    requests = await _requests(client)
    # It is the encryption that hides it: who has the key finds it.
    assert any(request.get("predicate") == PREDICATE for request in requests)
    places = {
        "histories": await all_kept(client),
        **await asyncio.to_thread(files_of, directory),
    }
    assert {"temporal.db", "temporal.log"} <= places.keys()
    stored = places["temporal.db"] + places.get("temporal.db-wal", b"")
    assert stored.count(ENCODING) > 20
    assert b"custom_predicate" not in stored  # neither in a memo
    leaked = [name for name, content in places.items() if SECRET.encode() in content]
    assert leaked == []
    assert b"careless" in stored  # the names of projections are in ids, and may be read


async def _wait_for_approval(client: Client, database: Database, key_file: Path) -> None:
    handle = await start(
        client, database, "Rebuild", {"projection": "careless", "approval": "manual"}
    )

    async def awaiting() -> bool:
        progress = await handle.query("progress", result_type=Progress)
        return bool(progress.status == "awaiting_approval")

    await until(awaiting)
    diff = await handle.query("diff", result_type=Diff)
    assert (diff.rows_live, diff.rows_shadow, diff.is_same) == (20, 20, True)
    shown = await _refold(client, database, key_file, "status", "careless", "--json")
    assert json.loads(shown.stdout)[0]["state"] == "awaiting_approval"
    assert (await _refold(client, database, key_file, "diff", "careless")).exit_code == 0
    for other in (None, key_file.with_name("other.keys")):
        if other is not None:
            add_key(other)
            other.write_text(other.read_text().replace("20", "19", 1))
        for command in ("diff", "cancel"):
            refused = await _refold(client, database, other, command, "careless")
            assert refused.exit_code == 1, command
            assert "encrypted with key" in refused.stderr
            assert "REFOLD_PAYLOAD_KEY_FILE" in refused.stderr
        manager = ProjectionManager(await connected(client, other), task_queue=queue(database))
        with pytest.raises(UnreadablePayload):
            await manager.start_rebuild("another")
    await until(lambda: _doctor_says(client, database, None, "wrong", handle.id))
    await until(lambda: _doctor_says(client, database, key_file, "ok", "can be read"))
    with serving(key_file) as endpoint:
        details = await _temporal(client, "metadata", handle.id, endpoint)
        assert "awaiting_approval" in details
        assert "refold approve careless" in details
    assert "awaiting" not in await _temporal(client, "metadata", handle.id)
    approved = await _refold(client, database, key_file, "approve", "careless")
    assert approved.exit_code == 0, approved.output
    await asyncio.wait_for(handle.result(), 60)
    await assert_oracle(database.engine, careless)


async def _doctor_says(
    client: Client, database: Database, key_file: Path | None, level: str, said: str
) -> bool:
    """What `refold doctor` finds of the keys; the list that it looks at is a moment behind."""
    shown = await _refold(client, database, key_file, "doctor", "--json")
    one = next(one for one in json.loads(shown.stdout)["findings"] if one["check"] == "encryption")
    return one["level"] == level and said in one["found"]


async def _temporal(client: Client, command: str, workflow_id: str, codec: str = "") -> str:
    """What Temporal's own command line shows of a workflow."""
    address = client.service_client.config.target_host
    words = [command, "-w", workflow_id, "--address", address, "-o", "json"]
    words += ["--codec-endpoint", codec] if codec else []
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("temporal"),
        "workflow",
        *words,
        stdout=PIPE,
        stderr=PIPE,
        env=clean_environment(),
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def _failed(client: Client, database: Database) -> str:
    handle = await start(client, database, "Rebuild", {"projection": "careless"})
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 60)
    return str(failed.value.cause)


async def _requests(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for execution in client.list_workflows():
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        first = (await handle.fetch_history()).events[0]
        payloads = first.workflow_execution_started_event_attributes.input.payloads
        found += await client.data_converter.decode(payloads)
    return [one for one in found if isinstance(one, dict)]


async def _refold(client: Client, database: Database, key_file: Path | None, *words: str) -> Result:
    settings = {
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_PROJECTIONS": "tests.support.careless",
        "REFOLD_TASK_QUEUE": queue(database),
        "REFOLD_PAYLOAD_KEY_FILE": str(key_file or ""),
        "TEMPORAL_ADDRESS": client.service_client.config.target_host,
    }
    return await asyncio.to_thread(CliRunner().invoke, app, list(words), env=settings)


@pytest.mark.parametrize("lacking", ["no key", *soak("another key")])
async def test_a_worker_without_the_key_says_so_and_ends_no_run(
    kept: Kept,
    database: Database,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    lacking: str,
) -> None:
    plain, _, key_file = kept
    client = await connected(plain, key_file)
    (name,) = load_keys(key_file).by_id
    other = None
    if lacking == "another key":  # of the same id
        other = tmp_path / "other.keys"
        add_key(other)
    await write(database.engine, [noted(number) for number in range(5)])
    handle: WorkflowHandle[Any, Any]
    with caplog.at_level(logging.WARNING):
        async with working(await connected(plain, other), database, REGISTRY):
            handle = await start(client, database, "Rebuild", {"projection": "careless"})

            async def said() -> bool:
                return "what came from Temporal is encrypted" in caplog.text

            await until(said)
    assert f"encrypted with key '{name}'" in caplog.text
    assert "REFOLD_PAYLOAD_KEY_FILE" in caplog.text
    async with working(client, database, REGISTRY):
        result = await asyncio.wait_for(handle.result(), 60)
    assert result.status == "completed"
    with pytest.raises(UnreadablePayload, match=r"take the file|let REFOLD_PAYLOAD_KEY_FILE name"):
        await (await connected(plain, other)).get_workflow_handle(handle.id).result()


@pytest.mark.soak
async def test_keys_are_rotated_under_runs_and_plain_payloads_are_taken(
    kept: Kept, database: Database, tmp_path: Path
) -> None:
    plain, _, key_file = kept
    rotated = tmp_path / "rotated.keys"
    rotated.write_text(key_file.read_text())
    add_key(rotated)
    await write(database.engine, [noted(number) for number in range(5)])
    async with working(await connected(plain, rotated), database, REGISTRY):
        for started_with in (None, key_file, rotated):
            client = await connected(plain, started_with)
            handle = await start(client, database, "Rebuild", {"projection": "careless"})
            reading = await connected(plain, rotated)
            reached = reading.get_workflow_handle(handle.id)
            result = await asyncio.wait_for(reached.result(), 60)
            assert result["status"] == "completed"
