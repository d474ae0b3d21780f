"""`refold release`: only a run that is silent, by its id; a worker ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from refold.cli.main import app
from refold.engine.lifecycle.lease_standing import Installation
from refold.store import leases
from tests.support.databases import Database


async def held(database: Database, *, silent_minutes: int) -> None:
    async with database.engine.begin() as connection:
        await leases.acquire(
            connection,
            "counters",
            run_id="a-run",
            workflow_id="a-workflow",
            namespace="elsewhere",
            installation="another",
        )
        await connection.execute(
            text("UPDATE refold.leases SET renewed_at = now() - :n * interval '1 minute'"),
            {"n": silent_minutes},
        )


async def released(
    database: Database, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str]:
    monkeypatch.setenv("REFOLD_DATABASE_URL", database.url)
    result: Any = await asyncio.to_thread(CliRunner().invoke, app, ["release", *arguments])
    return result.exit_code, result.output


async def holder(database: Database) -> leases.Lease | None:
    async with database.engine.connect() as connection:
        return await leases.holder(connection, "counters")


async def test_a_silent_run_is_released(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held(database, silent_minutes=2)
    asked = ("counters", "--run", "a-run", "--requested-by", "me")
    status, said = await released(database, monkeypatch, *asked)
    assert (status, said) == (0, "run a-run is released: a worker ends it within 15 s\n")
    lease = await holder(database)
    assert lease is not None
    assert lease.released_by == "me"


REFUSED = {
    "nobody holds it": (None, "a-run", "expected one that a run holds, none does"),
    "another run holds it": (2, "b-run", "a-run of workflow 'a-workflow', namespace 'elsewhere'"),
    "it has just shown itself": (0, "a-run", "expected one that has been silent for 60 s"),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_no_other_is(database: Database, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    silent, run, told = REFUSED[why]
    if silent is not None:
        await held(database, silent_minutes=silent)
    status, said = await released(database, monkeypatch, "counters", "--run", run)
    assert status == 1
    assert told in " ".join(said.split())
    lease = await holder(database)
    assert lease is None or lease.released_by is None


@pytest.mark.parametrize(
    ("of", "own", "owned"),
    [
        (("default", "a"), ("default", "a"), True),
        (("default", "a"), ("default", "b"), False),  # another server
        (("renamed", "a"), ("default", "a"), True),
        (("default", None), ("default", "a"), True),  # of an older version
        (("other", None), ("default", "a"), False),
        (("default", "a"), ("default", None), True),  # a server that does not tell
        (("other", "a"), ("default", None), False),
    ],
)
async def test_whose_a_lease_is(
    database: Database, of: tuple[str, str | None], own: tuple[str, str | None], owned: bool
) -> None:
    async with database.engine.begin() as connection:
        await leases.acquire(
            connection, "p", run_id="r", workflow_id="w", namespace=of[0], installation=of[1]
        )
        lease = await leases.holder(connection, "p")
    assert lease is not None
    assert Installation(*own).owns(lease) is owned
