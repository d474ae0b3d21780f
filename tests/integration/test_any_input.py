"""Whatever is sent to a workflow: it is refused or passed over at once, and never wedges a run."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from refold.workflows.all import WORKFLOWS
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live, until_status
from tests.support.runs import queue, working, write
from tests.support.soaking import soak

NAMES = [str(one.__temporal_workflow_definition.name) for one in WORKFLOWS]  # type: ignore[attr-defined]


def payload(data: bytes, encoding: str = "json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


def nested(depth: int) -> RawValue:
    return payload(b"[" * depth + b"]" * depth)


REQUEST = {"projection": "counters"}
ODD: dict[str, list[Any]] = {
    "no JSON": [payload(b"{not json")],
    "no text": [payload(b"\xff\xfe\x00")],
    "nothing at all": [payload(b"")],
    "bytes": [payload(b"abc", "binary/plain")],
    "unknown encoding": [payload(b"abc", "binary/unheard-of")],
    "no encoding": [RawValue(Payload(data=b"{}"))],
    "nested 250 deep": [nested(250)],
    "nested 100,000 deep": [nested(100_000)],
    "a long text": ["x" * 1_000_000],
    "a list": [[1, 2]],
    "two of them": [REQUEST, REQUEST],
    "a word more": [REQUEST, "again"],
}
WRONG_FIELDS: list[dict[str, Any]] = [
    {"requested_by": "x" * 1_000_000},
    {"projection": "x" * 1_000_000},
    {"x" * 1_000_000: 1},
    {f"field{number}": 1 for number in range(10_000)},
]


async def start(
    client: Client, database: Database, kind: str, arguments: list[Any], **more: Any
) -> WorkflowHandle[Any, Any]:
    number = next(_numbers)
    return await client.start_workflow(
        kind,
        args=arguments,
        id=f"odd/{queue(database)}/{number}",
        task_queue=queue(database),
        **more,
    )


_numbers = iter(range(1_000_000))


async def assert_never_stuck(handle: WorkflowHandle[Any, Any]) -> None:
    """No task of the workflow has failed: Temporal would try such a one for ever."""
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    history = await handle.fetch_history()
    found = [e for e in history.events if e.event_type == failed]
    said = {e.workflow_task_failed_event_attributes.failure.message for e in found}
    # This one is none: a signal came while the task was ending the workflow; it is done again.
    assert said <= {"UnhandledCommand"}


# Each workflow with some of it, each of these with some workflows; `Rebuild` with all.
@pytest.mark.parametrize("every", [6, *soak(1)])
async def test_odd_input_fails_at_once(client: Client, database: Database, every: int) -> None:
    async def is_refused(kind: str, what: str, arguments: list[Any]) -> None:
        handle = await start(client, database, kind, arguments)
        with pytest.raises(WorkflowFailureError) as raised:
            await asyncio.wait_for(handle.result(), 60)
        cause = raised.value.cause
        assert isinstance(cause, ApplicationError), (kind, what)
        assert (cause.type, cause.non_retryable) == ("InvalidRequest", True), (kind, what)
        assert len(cause.message) < 3000, (kind, what)
        await assert_never_stuck(handle)

    odd = {**ODD, **{str(n): [{**REQUEST, **wrong}] for n, wrong in enumerate(WRONG_FIELDS)}}
    async with working(client, database, registry_of(counters())):
        for i, kind in enumerate(NAMES):
            chosen = [
                what for n, what in enumerate(odd) if kind == "Rebuild" or (i + n) % every == 0
            ]
            await asyncio.gather(*[is_refused(kind, what, odd[what]) for what in chosen])


SIGNALS = ["cancel", "pause", "resume", "approve", "reject", "unheard of"]
SAID: dict[str, list[Any]] = {
    **ODD,
    "nothing": [],
    "null": [None],
    "an object": [{"by": {"name": "me"}}],
    "too many": [1, 2, 3],
}


@pytest.mark.parametrize("every", [6, *soak(1)])
async def test_odd_signals_never_wedge_a_run(
    client: Client, database: Database, every: int
) -> None:
    async def ends(kind: str, signal: str, said: list[Any]) -> None:
        request = {**REQUEST, "dry_run": True} if kind in ("Backfill", "Rebuild") else REQUEST
        handle = await start(
            client, database, kind, [request], start_signal=signal, start_signal_args=said
        )
        # Asked with whatever: an answer or a refusal.
        for asked in ("progress", "status", "unheard of"):
            with suppress(WorkflowQueryFailedError, RPCError):
                await handle.query(asked, args=said)
        with suppress(RPCError):  # it may have ended
            await handle.signal("resume")
            await handle.signal("cancel")
        with suppress(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 90)
        await assert_never_stuck(handle)

    # Each signal with some, each of these with some signals.
    cases = [
        ("Rebuild", signal, said)
        for i, signal in enumerate(SIGNALS)
        for n, said in enumerate(SAID)
        if (i + n) % every == 0
    ]
    cases += [
        (kind, "cancel", said)
        for i, kind in enumerate(("Backfill", "Rollback", "Snapshot"))
        for n, said in enumerate(("no JSON", "nested 250 deep", "a word more"))
        if every == 1 or i == n
    ]
    await write(database.engine, some(4, 2))
    async with working(client, database, registry_of(counters())):
        for at in range(0, len(cases), 20):
            await asyncio.gather(*[ends(k, s, SAID[w]) for k, s, w in cases[at : at + 20]])


LIVE_SIGNALS = [
    "start",
    "stop",
    "restart",
    "ProjectionBackfillRequested",
    "ProjectionRollbackRequested",
    "ProjectionRestartRequested",
    "unheard of",
]


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("every", [3, *soak(1)])
async def test_odd_signals_never_wedge_a_live_projection(
    client: Client, database: Database, every: int
) -> None:
    async with (
        working(client, database, registry_of(counters())),
        live(client, database) as handle,
    ):
        for i, signal in enumerate(LIVE_SIGNALS):
            asks = signal.startswith("Projection")
            for n, (what, said) in enumerate(SAID.items()):
                if (i + n) % every == 0 and not (asks and what in REQUESTS):
                    await handle.signal(signal, args=said)
        await handle.signal("start")
        await until_status(handle, "live")
        await assert_never_stuck(handle)


REQUESTS = ("two of them", "a word more", "nothing", "null", "an object", "too many")
