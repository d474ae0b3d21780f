"""The Temporal UI of `refold dev` in a headless Chromium: started, watched, decided, looked at."""

from __future__ import annotations

import json
from pathlib import Path

import asyncpg
import pytest

from tests.acceptance.stack import DevStack
from tests.support.chromium import require_chromium
from tools.pictures.browser import Camera, a_page, browsing
from tools.pictures.ui_tour import TALL, UiTour

NAME = "product-sales"
REBUILD, ROLLBACK = f"rebuild/{NAME}", f"rollback/{NAME}"


async def test_a_rebuild_from_the_form_to_live(
    dev: DevStack, shop_events: int, tmp_path: Path
) -> None:
    require_chromium()
    async with browsing() as browser, a_page(browser, TALL, own=False) as page:
        tour = UiTour(page, Camera(tmp_path), dev.variables["REFOLD_UI_URL"])
        run = await tour.start("Rebuild", REBUILD, {"projection": NAME, "approval": "manual"})
        await tour.open(REBUILD, run)
        told = await tour.details("awaiting_approval", f"What {NAME} will change")
        assert "Signals: approve lets the new table go live, reject discards it" in told
        assert f"refold approve {NAME}" in told
        await tour.camera.take(page, "awaiting-approval")
        await tour.signal("approve")
        assert f"refold status {NAME}" in await tour.details("completed")
        assert all(picture.stat().st_size > 20_000 for picture in tour.camera.taken)
    (status,) = dev.refold("status", NAME, "--json").json()
    assert (status["position"], status["events_behind"]) == (shop_events, 0)


@pytest.mark.soak
async def test_a_changed_row_is_seen_paused_approved_rolled_back_and_how_failures_look(
    dev: DevStack, shop_events: int, tmp_path: Path
) -> None:
    require_chromium()
    assert dev.refold("rebuild", NAME).status == 0
    await _change_a_row(dev)
    async with browsing() as browser, a_page(browser, TALL, own=False) as page:
        tour = UiTour(page, Camera(tmp_path), dev.variables["REFOLD_UI_URL"])
        run = await tour.start("Rebuild", REBUILD, {"projection": NAME, "approval": "manual"})
        await tour.open(REBUILD, run)
        await tour.details("awaiting_approval", "units: -7")
        await tour.signal("pause")
        assert f"refold resume {NAME}" in await tour.details("paused", "resume lets it go on")
        await tour.camera.take(page, "paused")
        await tour.signal("resume")
        await tour.details("awaiting_approval")
        await tour.signal("approve")
        await tour.details("completed")
        assert await _units(dev) > 0

        back = await tour.start("Rollback", ROLLBACK, {"projection": NAME})
        await tour.open(ROLLBACK, back)
        await tour.details("rolled_back")
        assert await _units(dev) == -7

        refused = await tour.start("Rebuild", REBUILD, {"projection": NAME, "bach_size": 5})
        await tour.open(REBUILD, refused)
        told = await tour.details("failed", "Correct the request, and start it again")
        assert "bach_size: not a field of the request" in told
        await tour.camera.take(page, "failed")

        reset = dev.temporal(
            *("workflow", "reset", "-w", ROLLBACK, "-r", back, "--type", "FirstWorkflowTask"),
            *("--reason", "a test", "--output", "json"),
        )
        assert reset.status == 0, reset.err
        await tour.open(ROLLBACK, json.loads(reset.out)["runId"])
        told = await tour.details("failed", "A reset would be refused")
        assert "expected a run that goes on, it ended as rolled_back" in told
        await tour.camera.take(page, "reset")
    assert dev.refold("rebuild", NAME).status == 0


async def _change_a_row(dev: DevStack) -> None:
    connection = await asyncpg.connect(dev.database_url)
    try:
        await connection.execute(f"UPDATE product_sales SET units = -7 WHERE sku = {_FIRST}")
    finally:
        await connection.close()


async def _units(dev: DevStack) -> int:
    connection = await asyncpg.connect(dev.database_url)
    try:
        found = await connection.fetchval(f"SELECT units FROM product_sales WHERE sku = {_FIRST}")
        return int(found)
    finally:
        await connection.close()


_FIRST = "(SELECT min(sku) FROM product_sales)"
