"""What rows and events hold stays in them: no error takes it to Temporal, to a log or a record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError

from refold.messages.run.life import Progress
from tests.support.databases import Database
from tests.support.histories import all_kept
from tests.support.kept_on_disk import files_of, server_on_disk
from tests.support.processes import WorkerProcesses, worker_environment, worker_processes
from tests.support.runs import run, start, until, write

SECRET, PASSWORD = "s3cr3t-value", "p4ssw0rd"

Events = list[tuple[str, str, dict[str, Any]]]


def _noted(key: Any, *, email: str = SECRET, note: str = SECRET) -> tuple[str, str, dict[str, Any]]:
    return ("s", "Noted", {"key": key, "email": email, "note": note})


def _trigger(body: str) -> list[str]:
    return [
        "CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NEW; END $$",
        "CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON public.careless FOR EACH ROW "
        "EXECUTE FUNCTION public.spoil()",
    ]


_NO_TRIGGER = ["DROP TRIGGER spoil ON public.careless", "DROP FUNCTION public.spoil()"]


@dataclass
class Case:
    """One kind of error.

    Attributes:
        events: What is appended.
        expected: What the failure, or what is heard of it, says.
        kind: The workflow.
        fields: More of its request.
        before: Statements that make the error.
        after: Statements that end it.
        passes: Whether the run works once `after` was done.
    """

    events: Events
    expected: str
    kind: str = "Backfill"
    fields: dict[str, Any] = field(default_factory=lambda: {"criteria": "incremental_update"})
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    passes: bool = False


FULL: dict[str, Any] = {}
CASES = {
    "poison, followed": Case([("s", "Poison", {"key": "k2", "note": SECRET})], "KeyError"),
    "poison, refolded": Case(
        [("s", "Poison", {"key": "k2", "note": SECRET})], "KeyError", "Rebuild", FULL
    ),
    "a key that is no text": Case([_noted({"k": SECRET})], "does not fit"),
    "a key that is too long": Case([_noted(SECRET * 10)], "does not fit"),
    "a key, at planning": Case([_noted(SECRET * 10)], "does not fit", "Rebuild", FULL),
    "a unique value": Case([_noted("k2"), _noted("k3")], "23505"),
    "a check, by COPY": Case([_noted("k2", note=SECRET * 200)], "23514", "Rebuild", FULL),
    "a check": Case([_noted("k2", note=SECRET * 200)], "23514"),
    "a type": Case(
        [_noted("k2")],
        "42804",
        before=["ALTER TABLE careless ALTER email TYPE integer USING NULL"],
        after=["ALTER TABLE careless ALTER email TYPE text"],
    ),
    "a value that is no number": Case(
        [_noted("k2")],
        "22P02",
        before=_trigger("PERFORM NEW.note::integer;"),
        after=_NO_TRIGGER,
    ),
    "a predicate": Case(
        [_noted("k2")], "leaky", fields={"criteria": "custom_predicate", "predicate_name": "leaky"}
    ),
    "a serialization failure": Case(
        [_noted("k2")],
        "40001",
        before=_trigger("RAISE EXCEPTION USING ERRCODE = '40001', DETAIL = NEW.note;"),
        after=_NO_TRIGGER,
        passes=True,
    ),
    "nobody's error": Case(
        [_noted("k2")],
        "AB123",
        before=_trigger("RAISE EXCEPTION USING ERRCODE = 'AB123', HINT = NEW.note;"),
        after=_NO_TRIGGER,
        passes=True,
    ),
    "a lost connection": Case(
        [_noted("k2")],
        "57P01|connection",
        before=_trigger("PERFORM pg_terminate_backend(pg_backend_pid());"),
        after=_NO_TRIGGER,
        passes=True,
    ),
}


@pytest.fixture(scope="module")
async def kept_on_disk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """A Temporal server whose database is a file."""
    directory = tmp_path_factory.mktemp("temporal")
    async with server_on_disk(directory) as client:
        yield client, directory


# One of each kind: a handler, a key, COPY, a single row, an error that passes. The soak has all.
SOME = (
    "poison, refolded",
    "a key, at planning",
    "a check, by COPY",
    "a type",
    "a serialization failure",
)


@pytest.mark.parametrize(
    "names",
    [pytest.param(SOME, id="some"), pytest.param(tuple(CASES), id="all", marks=pytest.mark.soak)],
)
async def test_no_error_takes_a_secret_along(
    kept_on_disk: tuple[Client, Path],
    database: Database,
    tmp_path: Path,
    names: tuple[str, ...],
) -> None:
    client, directory = kept_on_disk
    address = urlsplit(database.url)
    assert address.hostname
    url = database.url.replace(
        f"{address.username}@" if address.username else "//", f"{address.username}:{PASSWORD}@", 1
    )
    environment = worker_environment(
        client, database, REFOLD_PROJECTIONS="tests.support.careless", REFOLD_DATABASE_URL=url
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        await write(database.engine, [_noted("k1", email="other", note="other")])
        await run(client, database, "Rebuild", "careless")
        for name in names:
            await _meet(client, database, name, CASES[name])
        await worker.terminate()
        await _search(client, database, directory, workers)


async def _meet(client: Client, database: Database, name: str, case: Case) -> None:
    await _execute(database, case.before)
    await write(database.engine, case.events)
    request = {"projection": "careless", **case.fields}
    handle = await start(client, database, case.kind, request, workflow_id=name)
    said = ""

    async def told() -> bool:
        nonlocal said
        failing = (await handle.query("progress", result_type=Progress)).failing
        said = "" if failing is None else failing.message
        # A statement that was prepared before the trigger may have to be prepared anew first.
        return any(word in said for word in case.expected.split("|"))

    if case.passes:
        await until(told, 30)
    else:
        with pytest.raises(WorkflowFailureError) as failed:
            await asyncio.wait_for(handle.result(), 60)
        said = str(failed.value.cause)
    await _execute(database, case.after)
    if case.passes:
        await asyncio.wait_for(handle.result(), 60)
    assert any(word in said for word in case.expected.split("|")), (name, said)
    # The next case is to meet its own error.
    gone = ["DELETE FROM refold.events WHERE position > 1", "DELETE FROM careless WHERE key > 'k1'"]
    await _execute(database, gone)


async def _search(
    client: Client, database: Database, directory: Path, workers: WorkerProcesses
) -> None:
    places = {
        "histories": await all_kept(client),
        "log": workers.output.encode(),
        **await asyncio.to_thread(files_of, directory),
    }
    assert "temporal.db" in places
    async with database.engine.connect() as connection:
        tables = await connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'refold'::regnamespace "
                "AND relkind = 'r' AND relname <> 'events'"
            )
        )
        for table in tables.scalars().all():
            rows = await connection.execute(text(f"SELECT t::text FROM refold.{table} t"))
            places[f"refold.{table}"] = "\n".join(rows.scalars()).encode()
    # That something was looked at at all.
    assert b"KeyError" in places["histories"]
    assert b"KeyError" in places["temporal.db"] + places.get("temporal.db-wal", b"")
    assert b"SerializationError" in places["log"]
    leaked = {
        f"{secret} in {place}"
        for place, content in places.items()
        for secret in (SECRET, PASSWORD)
        if secret.encode() in content
    }
    assert leaked == set()


async def _execute(database: Database, statements: list[str]) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
