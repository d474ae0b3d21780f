"""What a worker's metrics are, as Prometheus would scrape them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).parents[2] / "docs/telemetry.md"

_ROW = re.compile(r"^\| `(refold\.[a-z_.]+)` \| `(refold_[a-z_]+)` \|", re.MULTILINE)

Labels = tuple[tuple[str, str], ...]


def documented() -> dict[str, str]:
    """The metrics of docs/telemetry.md: what Prometheus calls each."""
    return dict(_ROW.findall(PAGE.read_text()))


async def scraped(port: int) -> dict[str, dict[Labels, float]]:
    """All series of Refold, by name and labels; a histogram's `_count` and `_sum` among them."""
    address = f"http://127.0.0.1:{port}/metrics"
    page = (await asyncio.to_thread(httpx.get, address)).raise_for_status().text
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.startswith("refold_"):
                kept = {k: v for k, v in sample.labels.items() if not k.startswith("otel_")}
                labels = tuple(sorted(kept.items()))
                found.setdefault(sample.name, {})[labels] = sample.value
    return found
