"""Traces and metrics at a collector: from the command to each batch, one connected tree."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from temporalio.client import Client

from tests.support.collected import Span, spans_of, sums_of, unpacked
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.events import some
from tests.support.forked import ForkedProcess, refold
from tests.support.letters import aside
from tests.support.posted import listening
from tests.support.processes import ROOT, worker_environment, worker_processes
from tests.support.runs import assert_oracle, write


def roots(spans: list[Span]) -> list[Span]:
    """Those whose parent did not arrive, or that have none."""
    known = {span.id for span in spans}
    return [span for span in spans if span.parent not in known]


async def test_a_rebuild_is_one_tree_from_the_command_to_its_batches(
    client: Client, database: Database, tmp_path: Path
) -> None:
    await write(database.engine, some())
    with listening() as collector:
        environment = worker_environment(
            client,
            database,
            REFOLD_PROJECTIONS="tests.support.measured",
            REFOLD_LOG_FORMAT="json",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="200",
            OTEL_METRIC_EXPORT_INTERVAL="300",
        )
        with worker_processes(environment, tmp_path) as workers:
            worker = workers.start()
            command = ForkedProcess(
                refold,
                ("rebuild", "counters"),
                directory=ROOT,
                environment={**environment, "OTEL_SERVICE_NAME": "the-command"},
                output=(tmp_path / "out", tmp_path / "err"),
            )
            assert await asyncio.to_thread(command.wait, 60) == 0, (tmp_path / "err").read_text()
            assert await worker.terminate() == 0, worker.output
        await assert_oracle(database.engine, aside())
        spans = spans_of(collector)
        # Of the worker alone; the last of it is sent when it ends.
        assert [*sums_of(collector, "refold.events.processed").values()] == [200]
        sent = b"".join(unpacked(post) for post in collector.posts)
        assert b"temporal_activity_schedule_to_start_latency" in sent
        log = [json.loads(line) for line in worker.output.splitlines()]

    [root] = [span for span in roots(spans) if span.service == "the-command"]
    assert root.name == "refold rebuild"
    tree = [span for span in spans if span.trace == root.trace]
    assert roots(tree) == [root]
    assert {span.trace for span in spans if span.service == "the-command"} == {root.trace}
    names = {span.name for span in tree}
    for name in ("StartWorkflow:Rebuild", "RunWorkflow:Rebuild", "RunActivity:refold_segment"):
        assert name in names
    batches = [span for span in tree if span.name == "refold batch"]
    assert sum(span.attributes["refold.events.applied"] for span in batches) == 200
    assert {span.attributes["refold.projection"] for span in batches} == {counters().name}
    activities = {span.id for span in tree if span.name == "RunActivity:refold_segment"}
    assert {span.parent for span in batches} <= activities

    [swapped] = [line for line in log if line["message"].startswith("swapped counters in")]
    assert swapped["workflow_id"] == "rebuild/counters"
    assert (swapped["projection"], swapped["activity"]) == ("counters", "swap_generation")
    assert swapped["trace_id"] == root.trace
