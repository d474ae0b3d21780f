"""What a billion events would be for Temporal: histories, memory, processor for each segment.

A `Rebuild` and a `Backfill` of a billion events, then a `Projection` that is followed for a day,
each a real workflow on a real server. Their activities only pretend: they answer at once, as the
real ones would after ten seconds of work. What is left is what orchestration costs.

    python -m bench.simulation                        a billion events, 2,560 segments; a day
    python -m bench.simulation --segment-events 100000 --days 30
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.measuring.figures import Figure, Part, arguments_of, told
from bench.simulation.pretended import Scale
from bench.simulation.simulate import Simulated, run
from refold.stack.ports import choose_ports
from refold.stack.temporal import EmbeddedTemporal

KINDS = ("Rebuild", "Backfill", "Projection")
MOST_EVENTS = 10_000


async def measure(temporal: EmbeddedTemporal, scale: Scale) -> Part:
    """Simulates one after another."""
    assert temporal.process is not None
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    figures: list[Figure] = []
    for kind in KINDS:
        simulated = await run(client, kind, scale, server=temporal.process.pid)
        figures += figures_of(simulated)
        print(
            f"{kind}: {simulated.segments:,} segments, {len(simulated.lengths)} executions, "
            f"{simulated.passed:.0f} s for {simulated.seconds / 3600:.1f} h",
            flush=True,
        )
    return Part(name="simulation", events=scale.events, figures=figures, differing_rows=0)


def figures_of(simulated: Simulated) -> list[Figure]:
    """What a simulated workflow came to, as figures."""
    kind, segments = simulated.kind, simulated.segments
    name = f"simulated-{kind.lower()}"
    return [
        Figure(
            name=f"{name}-segments",
            says=f"{kind}: segments in {simulated.seconds / 3600:,.1f} hours",
            unit="segments",
            values=[segments],
        ),
        Figure(
            name=f"{name}-executions",
            says=f"{kind}: executions, each continued as new",
            unit="executions",
            values=[len(simulated.lengths)],
        ),
        Figure(
            name=f"{name}-longest",
            says=f"{kind}: the longest history",
            unit="events",
            values=[max(simulated.lengths)],
            at_most=MOST_EVENTS,
        ),
        Figure(
            name=f"{name}-size",
            says=f"{kind}: the largest history",
            unit="bytes",
            values=[max(simulated.sizes)],
        ),
        Figure(
            name=f"{name}-worker",
            says=f"{kind}: processor of the worker for a segment",
            unit="ms",
            values=[1000 * simulated.worker / segments],
        ),
        Figure(
            name=f"{name}-server",
            says=f"{kind}: processor of Temporal for a segment",
            unit="ms",
            values=[1000 * simulated.server / segments],
        ),
        Figure(
            name=f"{name}-growth",
            says=f"{kind}: growth of the worker's memory in the second half",
            unit="MiB",
            values=[simulated.growth],
            at_most=10,
        ),
    ]


def main() -> None:
    """Runs the bench."""
    parser = arguments_of(__doc__, events=Scale.events, runs=1)
    parser.add_argument("--segment-events", type=int, default=Scale.segment_events)
    parser.add_argument("--days", type=float, default=Scale.days)
    arguments = parser.parse_args()
    scale = Scale(
        events=arguments.events, segment_events=arguments.segment_events, days=arguments.days
    )
    ports = choose_ports(arguments.port_base)
    with tempfile.TemporaryDirectory(prefix="refold-simulation-") as directory:
        temporal = EmbeddedTemporal(Path(directory), ports.temporal, ports.ui)
        temporal.launch()
        try:
            temporal.wait_ready()
            part = asyncio.run(measure(temporal, scale))
        finally:
            temporal.stop()
    told(part, arguments.json)


if __name__ == "__main__":
    main()
