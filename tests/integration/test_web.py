"""`refold web` on real servers: what is streamed and shown, to whom, and what its buttons do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.manager import health
from refold.manager.run import watching
from refold.projection.registry import load_registry
from tests.support.databases import Database
from tests.support.hostile import BROKEN, GREETED, HOSTILE, SECRET, guests
from tests.support.mirroring import at_work, mirror
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, queue, run, working, write
from tests.support.served import PROJECTIONS, Served, served

ONE = "/api/projections/guests"


@pytest.fixture
async def worker(client: Client, database: Database) -> AsyncIterator[None]:
    """A worker, and some events."""
    plain = [(f"stream-{n}", "Greeted", {"key": f"k{n}", "name": f"{n}"}) for n in range(20)]
    await write(database.engine, [GREETED, *plain])
    async with working(client, database, load_registry([PROJECTIONS])):
        yield


async def tamper(database: Database) -> None:
    """Changes a row by hand, so that a rebuild has something to put right."""
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE guests SET name = 'by hand' WHERE key = 'k3'"))


async def test_from_a_button_to_a_live_table_and_back(
    client: Client, database: Database, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(client, database, monkeypatch, control=True) as web:
        row = await web.row(lambda row: True)
        assert (row["state"], row["offers"]) == ("not built", ["rebuild"])
        await _press(web, "rebuild", {"approval": "auto"})
        await web.row(lambda row: row["generation"] == 1 and row["run"]["ended_at"] is not None)
        await tamper(database)

        started = await _press(web, "rebuild", {"approval": "manual"})
        assert started["workflow_id"] == "rebuild/guests"
        row = await web.row(lambda row: row["state"] == "awaiting_approval")
        assert row["offers"] == ["approve", "reject"]
        assert row["waiting_for"] == ["approval: manual"]
        progress = row["run"]["progress"]
        assert (progress["events"], progress["total"]) == (21, 21)
        assert sum(events for events, _, _ in progress["partitions"]) == 21
        busy = await web.post(f"{ONE}/rebuild")
        assert busy.status_code == 409
        assert "refold cancel guests" in busy.json()["error"]["message"]

        diff = (await web.get(ONE))["diff"]
        assert diff["counts"]["changed"] == 1
        assert diff["rows_hidden"] == 0
        (changed,) = diff["rows"]
        assert (changed["kind"], changed["key"]) == ("changed", "key = k3")
        assert changed["columns"] == [["name", "by hand", "3"]]

        await _press(web, "pause")
        row = await web.row(lambda row: row["state"] == "paused")
        assert row["offers"] == ["resume", "cancel"]
        await _press(web, "resume")
        await web.row(lambda row: row["state"] == "awaiting_approval")
        await _press(web, "approve")
        row = await web.row(lambda row: row["generation"] == 2 and "rollback" in row["offers"])
        assert row["rollback_to"] == [1]
        await assert_oracle(database.engine, guests)
        await _rows_and_the_life_of_one(web, database)
        late = await web.post(f"{ONE}/approve")
        assert late.status_code == 409
        assert "awaiting_approval" in late.json()["error"]["message"]

        await _press(web, "rollback", {"to_generation": 1})
        await web.row(lambda row: row["generation"] == 1 and row["run"]["ended_at"] is not None)
        statuses = {one["generation"]: one["status"] for one in (await web.get(ONE))["generations"]}
        assert statuses == {1: "active", 2: "retained"}

        await _press(web, "rebuild", {"approval": "manual"})
        await web.row(lambda row: row["state"] == "awaiting_approval")
        await _press(web, "cancel", {"reason": "enough"})
        row = await web.row(lambda row: row["run"]["status"] == "cancelled")
        assert row["generation"] == 1


async def _press(web: Served, action: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    response = await web.post(f"{ONE}/{action}", body)
    assert response.status_code == 202, response.text
    return dict(response.json())


async def _rows_and_the_life_of_one(web: Served, database: Database) -> None:
    found = await web.get(f"{ONE}/rows")
    assert found["columns"] == ["key", "name"]
    assert len(found["rows"]) == 20
    assert found["more"]
    assert found["keys"][0] == [HOSTILE]
    life = await web.get(f"{ONE}/life", params={"key": HOSTILE})
    (step,) = life["steps"]
    assert (step["type"], step["appears"], step["stream"]) == ("Greeted", True, GREETED[0])
    assert step["changes"] == [["name", None, json.dumps(GREETED[2]["name"])]]
    assert life["is_right"] is True
    await tamper(database)
    life = await web.get(f"{ONE}/life", params={"key": "k3"})
    assert life["is_right"] is False
    assert "not what its events make of it" in life["seen"]
    for asked in ("", "key=a&key=b", "key=a&version=x", "key=a&version=9"):
        refused = await web.http.get(f"{ONE}/life?{asked}")
        assert refused.status_code == 400, asked
        assert "expected" in refused.json()["error"]["message"]


async def test_without_control_no_event_data_is_told(
    client: Client, database: Database, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(database.engine, [BROKEN])
    await _a_failure_is_told_in_full_with_control_only(client, database, monkeypatch)
    await run(client, database, "Rebuild", "guests")
    await tamper(database)
    async with served(client, database, monkeypatch, control=False) as web:
        await client.start_workflow(
            "Rebuild",
            {"projection": "guests", "approval": "manual", "on_poison": "set_aside"},
            id="rebuild/guests",
            task_queue=queue(database),
        )
        row = await web.row(lambda row: row["state"] == "awaiting_approval")
        assert row["offers"] == []
        details = await web.get(ONE)
        assert details["diff"]["counts"]["changed"] == 1
        assert (details["diff"]["rows"], details["diff"]["rows_hidden"]) == ([], 1)
        (letter,) = details["dead_letters"]
        assert sorted(letter) == ["id", "position", "recorded_at", "type"]
        told = json.dumps([row, details])
        assert SECRET not in told
        assert "by hand" not in told
        for path in ("rows", "life?key=k3"):
            assert (await web.http.get(f"{ONE}/{path}")).status_code == 403
        for action in ("approve", "reject", "pause", "resume", "cancel", "rebuild", "rollback"):
            refused = await web.post(f"{ONE}/{action}")
            assert refused.status_code == 403
            assert "refold web --control" in refused.json()["error"]["message"]
        still = await web.row(lambda row: True)
        assert still["state"] == "awaiting_approval"
        await client.get_workflow_handle("rebuild/guests").signal("reject", "the test is done")
        await web.row(lambda row: row["run"]["ended_at"] is not None)


async def _a_failure_is_told_in_full_with_control_only(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Exception, match="failed"):
        await run(client, database, "Rebuild", "guests", on_poison="fail")
    for control in (True, False):
        async with served(client, database, monkeypatch, control=control) as web:
            row = await web.row(lambda row: True)
            assert (row["state"], len(row["trouble"])) == ("failed", 1)
            assert (SECRET in json.dumps(row)) is control


async def test_what_cannot_be_asked_for_is_refused(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(client, database, monkeypatch, control=True) as web:
        cases = [
            ("/api/projections/nope/rebuild", {}, 404),
            (f"{ONE}/explode", {}, 400),
            (f"{ONE}/rebuild", {"approval": "perhaps"}, 400),
            (f"{ONE}/rebuild", {"batch_size": 5}, 400),
            (f"{ONE}/rollback", {"to_generation": "1"}, 400),
            (f"{ONE}/cancel", {"reason": "x" * 501}, 400),
            (f"{ONE}/cancel", {"reason": "x" * 20_000}, 400),
            (f"{ONE}/rebuild", ["no", "object"], 400),
            (f"{ONE}/pause", {}, 409),
        ]
        for path, body, status in cases:
            refused = await web.post(path, body)
            assert refused.status_code == status, (path, body, refused.text)
            assert refused.json()["error"]["message"]
        broken = await web.http.post(
            f"{ONE}/rebuild", content=b"{", headers={"content-type": "application/json"}
        )
        assert broken.status_code == 400
        alien = await web.post(f"{ONE}/rebuild", headers={"origin": "https://evil.example"})
        assert alien.status_code == 403
        nobody = await web.post(f"{ONE}/rebuild", headers={"authorization": "Bearer other"})
        assert nobody.status_code == 401
        assert (await web.http.get(ONE, headers={"authorization": ""})).status_code == 401
        # The page itself has nothing to hide: it asks for the token.
        page = await web.http.get("/", headers={"authorization": ""})
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert (await web.http.get("/page/../app.py")).status_code == 404
        assert (await web.http.get("/page/%2e%2e%2fapp.py")).status_code == 404
        row = await web.row(lambda row: True)
        assert (row["state"], row["run"]) == ("not built", None)


async def test_without_temporal_the_database_tells_what_it_knows(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async with served(client, database, monkeypatch, control=False, temporal=nowhere) as web:
        async with aclosing(web.boards()) as boards:
            board = await anext(boards)
            while not board["projections"]:
                board = await anext(boards)
        assert nowhere in board["problem"]
        assert board["projections"][0]["state"] == "not built"


async def test_however_many_watch_it_is_looked_once(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(client, database, monkeypatch, control=False) as web:
        first, second = await asyncio.gather(_times(web), _times(web))
        assert first & second


async def _times(web: Served) -> set[str]:
    async with aclosing(web.boards()) as boards:
        return {(await anext(boards))["at"] for _ in range(3)}


async def test_mirrors_are_shown_beside_projections(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        served(client, database, monkeypatch, control=False) as web,
        at_work(client, database),
        mirror(client, database),
        asyncio.timeout(60),
        aclosing(web.boards()) as boards,
    ):
        board = await anext(boards)
        while not board["mirrors"] or board["mirrors"][0]["status"] != "live":
            board = await anext(boards)
    (found,) = board["mirrors"]
    assert (found["mirror"], found["events"], found["reason"]) == ("feed", 0, None)


async def test_while_no_worker_answers_the_numbers_stand_still(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_QUERY_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(health, "QUERY_TIMEOUT", timedelta(seconds=1))
    await write(database.engine, [GREETED])
    async with served(client, database, monkeypatch, control=True) as web:
        async with working(client, database, load_registry([PROJECTIONS])):
            started = await _press(web, "rebuild", {"approval": "manual"})
            await web.row(lambda row: row["state"] == "awaiting_approval")
        row = await web.row(lambda row: row["waiting_for"] == ["no worker answers for it"])
        progress = row["run"]["progress"]
        assert (progress["events"], progress["total"], progress["per_second"]) == (1, 1, 0)
    await client.get_workflow_handle(started["workflow_id"]).terminate()
