"""Notifications reach the webhook, each at least once, whatever the webhook does meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from refold.store import deliveries
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.letters import BAD, aside
from tests.support.live import dispatching, ended_after, live, until_position, until_status
from tests.support.posted import Server, listening
from tests.support.runs import assert_oracle, run, start, until, working, write


def texts(server: Server) -> list[str]:
    return [json.loads(post.body)["text"] for post in server.posts]


async def until_told(server: Server, words: str, times: int = 1) -> str:
    async def told() -> bool:
        return sum(words in text for text in texts(server)) >= times

    await until(told)
    return next(text for text in texts(server) if words in text)


async def begun(database: Database) -> None:
    async def there() -> bool:
        async with database.engine.connect() as connection:
            return len(await deliveries.all_delivered(connection)) == 1

    await until(there)


async def test_what_somebody_is_to_look_at_is_told(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.activities.live._TELL_SECONDS", 0.5)
    projection = aside()
    registry = registry_of(projection)
    await write(database.engine, some())
    with listening() as server:
        hook = f"{server.url}/services/s3cret"
        async with (
            working(client, database, registry, webhook_url=hook),
            dispatching(client, database, registry),
            ended_after(client, "system-events/counters/refold.worker.webhook:notify"),
        ):
            await begun(database)
            # The first two attempts fail: the run does not wait for them.
            server.answers = [503, 500]
            done = await run(client, database, "Rebuild", "counters")
            assert done.status == "completed"
            await until_told(server, "Rebuild completed: 200 events", 3)
            assert len({post.headers["Idempotency-Key"] for post in server.posts}) == 1
            await assert_oracle(database.engine, projection)

            asked = {"projection": "counters", "approval": "manual"}
            rebuild = await start(client, database, "Rebuild", asked)
            told = await until_told(server, "Rebuild awaits approval")
            assert "`refold approve counters`" in told
            await rebuild.signal("reject", "no")
            await rebuild.result()
            await until_told(server, "Rebuild cancelled")

            async with live(client, database) as handle:
                await until_status(handle, "live")
                await write(database.engine, [BAD])
                await until_position(database, 201)
                told = await until_told(server, "1 event is set aside")
                assert "the latest at position 201 (Broken)" in told
            with pytest.raises(WorkflowFailureError):
                await run(client, database, "Rebuild", "counters", on_poison="fail")
            await until_told(server, "Rebuild failed (RF301)")
        assert {post.path for post in server.posts} == {"/services/s3cret"}
        assert all(json.loads(post.body).keys() == {"text"} for post in server.posts)
        assert sum("awaits approval" in text for text in texts(server)) == 1


async def test_the_secret_of_the_address_is_in_no_history(
    client: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    registry = registry_of(aside())
    await write(database.engine, some(4, 1))
    name = "system-events/counters/refold.worker.webhook:notify"
    with listening() as server:
        server.answers = [500]
        hook = f"{server.url}/services/s3cret"
        async with (
            ended_after(client, name),
            working(client, database, registry, webhook_url=hook),
            dispatching(client, database, registry),
        ):
            await begun(database)
            await run(client, database, "Rebuild", "counters")
            await until_told(server, "Rebuild completed", 2)
            history: dict[str, Any] = (
                await client.get_workflow_handle(name).fetch_history()
            ).to_json_dict()
        assert "expected an answer of 200 to 299, got 500" in caplog.text
        assert "s3cret" not in caplog.text + json.dumps(history)
