"""A billion events, as Temporal sees them: real workflows, activities that only pretend.

The one place where activities are not the real ones: what a billion events do to histories and to
the memory of workflows is to be seen, not what they do to PostgreSQL.
"""

from __future__ import annotations

import pytest
from temporalio.client import Client

from bench.simulation.__main__ import KINDS, MOST_EVENTS
from bench.simulation.pretended import Scale
from bench.simulation.simulate import Simulated, run
from tests.replay.short_history import short_history_server

# What an execution may have before it continues as new: it asks each partition at least once.
_LENGTH = 50
_FEW = Scale(events=28, segment_events=1, partitions=2, days=240 / 86_400)


def _assert_carried_out(simulated: Simulated, scale: Scale) -> None:
    if simulated.kind == "Projection":
        assert simulated.segments >= scale.followed_seconds / 60
        return
    assert simulated.segments == scale.run_segments
    progress = simulated.progress
    assert progress is not None
    assert (progress.status, progress.events_processed) == ("completed", scale.events)


async def test_a_history_is_begun_anew_and_nothing_is_done_twice() -> None:
    async with await short_history_server(_LENGTH) as environment:
        for kind in ("Rebuild", "Projection"):
            simulated = await run(environment.client, kind, _FEW, samples=1)
            print(simulated.kind, simulated.lengths)
            _assert_carried_out(simulated, _FEW)
            assert len(simulated.lengths) > 2
            assert max(simulated.lengths) < 2 * _LENGTH


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_billion_events_and_a_month(client: Client, kind: str) -> None:
    scale = Scale(segment_events=100_000, days=30)
    simulated = await run(client, kind, scale)
    print(
        f"{kind}: {simulated.segments:,} segments, {simulated.passed:.0f} s, "
        f"{len(simulated.lengths)} executions, the longest of {max(simulated.lengths):,} events; "
        f"memory {simulated.memory[0]:.0f} to {simulated.memory[-1]:.0f} MiB"
    )
    _assert_carried_out(simulated, scale)
    assert len(simulated.lengths) > 2
    assert max(simulated.lengths) < MOST_EVENTS
    assert simulated.growth < 10, simulated.memory
