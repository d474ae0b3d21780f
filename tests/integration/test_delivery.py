"""Handlers of system events are given them in order, each at least once, whatever others do."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from refold import (
    ProjectionBackfillCompleted,
    ProjectionBackfillStarted,
    ProjectionRestartRequested,
    ProjectionStopped,
    SystemEvent,
    SystemEventContext,
    on_system_event,
)
from refold.errors import InvalidProjection
from refold.manager.projections import ProjectionManager
from refold.projection.registry import Registry
from refold.store import deliveries
from refold.system_events.events import SystemHandlerFailed
from refold.worker.chores.dispatch import Dispatch
from refold.workflows import delivery
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import dispatching, ended_after, recorded, until_recorded
from tests.support.runs import queue, run, until, working, write


class OrderShipped(SystemEvent):
    """An application's own system event."""

    order: str


async def begun(database: Database, handlers: int) -> None:
    """Waits until the handlers have their places: they are given what comes from now on."""

    async def there() -> bool:
        async with database.engine.connect() as connection:
            return len(await deliveries.all_delivered(connection)) == handlers

    await until(there)


async def test_handlers_are_given_what_they_want_in_order(
    client: Client, database: Database
) -> None:
    projection = counters()
    seen: list[tuple[str, str]] = []
    ids: list[str] = []

    @projection.on_system_event(ProjectionBackfillStarted, ProjectionBackfillCompleted)
    async def of_one(
        event: ProjectionBackfillStarted | ProjectionBackfillCompleted, context: SystemEventContext
    ) -> None:
        seen.append((type(event).__name__, event.kind))
        ids.append(context.id)
        assert context.delivery_attempt == 1

    @on_system_event(OrderShipped)
    def of_all(event: OrderShipped, context: SystemEventContext) -> None:
        seen.append(("OrderShipped", event.order))

    registry = Registry([projection], [of_all])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    await write(database.engine, some())
    async with (
        working(client, database, registry),
        dispatching(client, database, registry),
    ):
        await begun(database, 2)
        for kind in ("Rebuild", "Backfill"):
            await run(client, database, kind, "counters")
        await manager.publish(OrderShipped(projection="counters", order="o-1"))

        async def all_seen() -> bool:
            return len(seen) >= 5

        await until(all_seen)
    of_runs = [one for one in seen if one[0] != "OrderShipped"]
    assert of_runs == [
        ("ProjectionBackfillStarted", "Rebuild"),
        ("ProjectionBackfillCompleted", "Rebuild"),
        ("ProjectionBackfillStarted", "Backfill"),
        ("ProjectionBackfillCompleted", "Backfill"),
    ]
    assert ("OrderShipped", "o-1") in seen
    assert len(set(ids)) == 4


async def test_a_failing_handler_is_tried_again_and_holds_up_nobody(
    client: Client, database: Database
) -> None:
    projection = counters()
    attempts: list[tuple[int, int]] = []
    others: list[int] = []

    @projection.on_system_event(ProjectionStopped)
    async def failing(event: ProjectionStopped, context: SystemEventContext) -> None:
        attempts.append((int(context.id.rpartition("/")[2]), context.delivery_attempt))
        if len(attempts) < 3:
            raise OSError("the alert could not be sent")

    @projection.on_system_event(ProjectionStopped)
    async def other(event: ProjectionStopped, context: SystemEventContext) -> None:
        others.append(len(attempts))

    registry = Registry([projection])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with (
        working(client, database, registry),
        dispatching(client, database, registry),
    ):
        await begun(database, 2)
        for _ in range(2):
            await manager.publish(ProjectionStopped(projection="counters"))

        async def all_taken() -> bool:
            return len(attempts) >= 4 and len(others) >= 2

        await until(all_taken)
    numbers = [e.number for e in await recorded(database) if "Stopped" in e.type]
    # The second event waited until the first was taken: in order, at least once.
    assert attempts == [(numbers[0], 1), (numbers[0], 2), (numbers[0], 3), (numbers[1], 1)]


async def test_a_handler_that_never_can_is_given_up_and_goes_on(
    client: Client, database: Database
) -> None:
    projection = counters()
    taken: list[Any] = []

    @projection.on_system_event(ProjectionStopped, OrderShipped, max_attempts=2)
    def never(event: SystemEvent, context: SystemEventContext) -> None:
        if isinstance(event, ProjectionStopped):
            raise ValueError("no use")
        taken.append(event)

    registry = Registry([projection])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with (
        working(client, database, registry),
        dispatching(client, database, registry),
    ):
        await begun(database, 1)
        await manager.publish(ProjectionStopped(projection="counters"))
        await manager.publish(OrderShipped(projection="counters", order="o-1"))
        given_up = await until_recorded(database, "SystemHandlerFailed")

        async def went_on() -> bool:
            return len(taken) == 1

        await until(went_on)
    assert given_up.data["handler"].endswith("never")
    assert "no use" in given_up.data["error"]


async def test_what_a_handler_publishes_is_published_once(
    client: Client, database: Database
) -> None:
    projection = counters()
    runs: list[str] = []

    @projection.on_system_event(ProjectionStopped)
    async def publishing(event: ProjectionStopped, context: SystemEventContext) -> None:
        await context.publish(OrderShipped(projection=event.projection, order="o-1"))
        await context.publish(ProjectionRestartRequested(projection=event.projection))
        runs.append(context.id)
        if len(runs) < 3:
            raise OSError("after it had published")

    registry = Registry([projection])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with (
        ended_after(client, "projection/counters"),
        working(client, database, registry),
        dispatching(client, database, registry),
    ):
        await begun(database, 1)
        asked = await manager.publish(ProjectionStopped(projection="counters"))

        async def done() -> bool:
            return len(runs) == 3

        await until(done)
        await until_recorded(database, "ProjectionRestartRequested")
        await until_recorded(database, "ProjectionStarted")
    published = [e for e in await recorded(database) if e.correlation_id == asked]
    assert sorted(event.type for event in published) == [
        "OrderShipped",
        "ProjectionRestartRequested",
        "ProjectionStopped",
    ]
    assert len(set(runs)) == 1


def test_handlers_are_found_where_projections_are_and_named_once() -> None:
    from refold.projection.registry import load_registry

    found = load_registry(["tests.support.handled"])
    (own, bound, of_all) = sorted(
        found.system_handlers("handled"), key=lambda handler: handler.name
    )
    assert own.name == "tests.support.handled:alert"
    assert bound.name == "tests.support.handled:another"
    assert of_all.name == "tests.support.handled:note"
    with pytest.raises(InvalidProjection, match="two handlers of system events are named"):
        Registry([], [of_all, on_system_event(ProjectionStopped)(of_all.handle)])
    with pytest.raises(InvalidProjection, match="expected classes of system events"):
        on_system_event()


async def test_a_worker_of_other_code_loses_no_event(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LEFT_AT_MOST", 3)
    old, new = counters(), counters()
    taken: list[str] = []

    @new.on_system_event(ProjectionStopped)
    def take(event: ProjectionStopped, context: SystemEventContext) -> None:
        taken.append(context.id)

    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    known = Registry([new])
    # Only the old code is at work, while the new one's dispatcher has seen that there is something.
    async with (
        working(client, database, Registry([old])),
        dispatching(client, database, known),
    ):
        await begun(database, 1)
        await manager.publish(ProjectionStopped(projection="counters"))
        first = await _ended_delivery(client)
        assert (first, taken) == (0, [])
    async with working(client, database, known), dispatching(client, database, known):

        async def has_taken() -> bool:
            return taken == ["counters/1"]

        await until(has_taken)
    assert [event.type for event in await recorded(database)] == ["ProjectionStopped"]


async def _ended_delivery(client: Client) -> int:
    workflow_id = (
        "system-events/counters/tests.integration.test_delivery:"
        "test_a_worker_of_other_code_loses_no_event.<locals>.take"
    )

    async def there() -> bool:
        try:
            await client.get_workflow_handle(workflow_id).describe()
        except RPCError:
            return False
        return True

    await until(there)
    return int(await client.get_workflow_handle(workflow_id).result())


async def test_deliveries_on_a_task_queue_of_nobodys_are_told(
    client: Client, database: Database
) -> None:
    projection = counters()
    taken: list[str] = []

    @projection.on_system_event(ProjectionStopped)
    def lost(event: ProjectionStopped, context: SystemEventContext) -> None:
        taken.append(context.id)

    registry = Registry([projection])
    [handler] = registry.system_handlers("counters")
    workflow_id = f"system-events/counters/{handler.name}"
    # As of workers that had another REFOLD_TASK_QUEUE once.
    left = await client.start_workflow(
        "SystemEvents",
        {"projection": "counters", "handler": handler.name},
        id=workflow_id,
        task_queue="of-nobody",
    )
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    dispatch = Dispatch(database.engine, client, registry, queue(database))
    async with working(client, database, registry):
        assert (await dispatch.run_once()).done == []
        await manager.publish(ProjectionStopped(projection="counters"))
        assert (await dispatch.run_once()).troubles == []  # it may have begun just now
        [trouble] = (await dispatch.run_once()).troubles
        assert (trouble.projection, trouble.item) == ("counters", f"handler {handler.name}")
        assert f"'of-nobody': expected '{queue(database)}'" in trouble.reason
        assert f"terminate --workflow-id '{workflow_id}'" in trouble.reason
        await left.terminate()
        looked = await dispatch.run_once()
        assert (looked.done, looked.troubles) == ([workflow_id], [])

        async def has_taken() -> bool:
            return taken == ["counters/1"]

        await until(has_taken)


async def test_a_handler_of_failed_handlers_does_not_feed_itself(
    client: Client, database: Database
) -> None:
    projection = counters()
    asked: list[str] = []

    @projection.on_system_event(ProjectionStopped, SystemHandlerFailed, max_attempts=1)
    def fails(event: SystemEvent, context: SystemEventContext) -> None:
        asked.append(type(event).__name__)
        raise ValueError("a text with \0 in it")

    registry = Registry([projection])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with (
        working(client, database, registry),
        dispatching(client, database, registry),
    ):
        await begun(database, 1)
        await manager.publish(ProjectionStopped(projection="counters"))

        async def both() -> bool:
            return len(asked) >= 2

        await until(both)
        await manager.publish(ProjectionStopped(projection="counters"))

        async def three() -> bool:
            return len(asked) >= 4

        await until(three)
    assert asked == ["ProjectionStopped", "SystemHandlerFailed"] * 2
    assert [event.type for event in await recorded(database)] == asked
