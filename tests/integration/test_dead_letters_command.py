"""`refold dead-letters`: what people see of dead letters, and do about them."""

from __future__ import annotations

import asyncio
import json

import pytest
from temporalio.client import Client
from typer.testing import CliRunner, Result

from refold.cli.main import app
from tests.support.counters import registry_of
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.live import ended_after
from tests.support.runs import queue, rows_of, run, working, write


async def refold(*words: str) -> Result:
    """Runs a command as if it were typed."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["dead-letters", *words])


async def test_letters_are_listed_retried_and_skipped(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_DATABASE_URL", database.url)
    monkeypatch.setenv("REFOLD_TASK_QUEUE", queue(database))
    monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.counting")
    monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
    good = counted_events(4)
    await write(database.engine, [*good, ("bad", "Added", {"key": "k00002"}), *good])
    async with (
        ended_after(client, "backfill/counting"),
        working(client, database, registry_of(counting)),
    ):
        await run(client, database, "Backfill", "counting", on_poison="set_aside")
        shown = await refold("list", "counting")
        for part in ("81", "Added", "bad", "k00002", "KeyError: 'n'"):
            assert part in shown.output
        assert "Traceback" not in shown.output
        assert "Traceback" in (await refold("list", "counting", "--trace")).output
        (letter,) = json.loads((await refold("list", "counting", "--json")).stdout)
        assert (letter["position"], letter["key"], letter["generation"]) == (81, ["k00002"], 1)
        assert 'event.data["n"]' in letter["trace"]
        tried = await refold("retry", "counting")
        assert tried.exit_code == 0
        assert "1 dead letter: `refold dead-letters list counting`" in tried.output
        refused = await refold("skip", "counting", "80")
        assert refused.exit_code == 1
        assert "expected positions of dead letters of 'counting' (81), got 80" in refused.output
        skipped = await refold("skip", "counting", "81", "--requested-by", "ann")
        assert skipped.exit_code == 0
        assert (await refold("list", "counting")).output == "counting: no dead letters\n"
        assert (await rows_of(database.engine, counting))["k00002"]["count"] == 40
        unknown = await refold("list", "nothing")
        assert unknown.exit_code == 1
        assert "expected one of (counting), got 'nothing'" in unknown.output
