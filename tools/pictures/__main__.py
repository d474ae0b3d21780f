"""Takes the pictures of the documentation: ``python -m tools.pictures`` (`make pictures`).

It starts a stack of its own with the sample shop, does what the pictures show, and writes them to
docs/pictures/. Tests do the same on their stacks, with the same tours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

from playwright.async_api import ViewportSize
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from refold import NewEvent, ProjectionManager, append
from refold.cli.stack import migrate_url
from refold.messages.search_attributes import SEARCH_ATTRIBUTES
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.source.files.sample_shop import seed_shop
from refold.stack.stack import Stack
from tools.pictures.browser import PHONE, Camera, a_page, browsing
from tools.pictures.page_tour import PageTour
from tools.pictures.process import ROOT, refold_web
from tools.pictures.ui_tour import TALL, UiTour

PLACE = ROOT / "docs/pictures"
_ORDERS = 6_000
_LATE_ORDERS = 400
_LAG_SECONDS = 8
_SIZE = (1280, 1000)
_LOW: ViewportSize = {"width": 1280, "height": 360}


def main() -> None:
    """Takes all pictures anew."""
    with tempfile.TemporaryDirectory(prefix="refold-pictures-") as directory:
        place = Path(directory)
        stack = Stack(place / "data", migrate=migrate_url, keywords=SEARCH_ATTRIBUTES)
        with stack:
            environment = {**os.environ, **stack.environment, "TEMPORAL_CONFIG_FILE": os.devnull}
            with refold_web(environment, place / "web.log", "--control") as (address, _):
                asyncio.run(_take(stack, address))


async def _take(stack: Stack, address: str) -> None:
    engine = make_engine(Settings(database_url=stack.database_url))
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    camera = Camera(PLACE)
    async with (
        ProjectionManager(client, stack.database_url) as manager,
        browsing() as browser,
        a_page(browser, _SIZE) as page,
        a_page(browser, PHONE, "dark") as phone,
        a_page(browser, TALL, own=False) as ui,
    ):
        await _the_day_before(manager, engine)
        tour, on_phone = PageTour(page, camera), PageTour(phone, camera)
        await tour.open(address)
        await on_phone.open(address)
        await _a_busy_moment(manager, engine)
        await tour.choose("order-summary")
        await tour.rebuilt_for_approval()
        await tour.picture("web-diff")
        await on_phone.page.locator(".card .bar").first.wait_for()
        await on_phone.picture("web-phone")
        await tour.page.goto(f"{address.partition('#')[0]}#/")
        await tour.page.locator("#panel").wait_for(state="hidden")
        await tour.page.set_viewport_size(_LOW)
        await tour.picture("web-all")
        await tour.page.set_viewport_size({"width": _SIZE[0], "height": _SIZE[1]})
        await _killed(stack, tour)
        temporal = UiTour(ui, camera, stack.ui_url)
        run = await manager.current_run("order-summary")
        await temporal.open(run.workflow_id, run.run_id)
        await temporal.details("awaiting_approval", "What order-summary will change")
        await camera.take(ui, "temporal-approval")
        await tour.choose("order-summary")
        await tour.approved(2)
        await tour.life("invoice-500013")
        await tour.box("Rows, and why they are so").scroll_into_view_if_needed()
        await tour.box("Rows, and why they are so").screenshot(path=PLACE / "web-life.png")
    await engine.dispose()


async def _killed(stack: Stack, tour: PageTour) -> None:
    """The worker is killed; the page says so, and another one goes on."""
    card = tour.page.locator('.card[data-key="customer-summary"]')
    for pid in stack.worker_pids:
        os.kill(pid, signal.SIGKILL)
    nobody = card.locator(".waits", has_text="no worker answers for it")
    await nobody.wait_for()
    await tour.page.set_viewport_size(_LOW)
    await tour.picture("web-kill")
    await tour.page.set_viewport_size({"width": _SIZE[0], "height": _SIZE[1]})
    async with asyncio.timeout(120):
        while await nobody.count() or not await card.locator(".bar").count():
            await asyncio.to_thread(stack.check)
            await asyncio.sleep(0.5)


async def _the_day_before(manager: ProjectionManager, engine: AsyncEngine) -> None:
    """Two read models are live; somebody has changed some rows of one by hand."""
    await seed_shop(engine, orders=_ORDERS)
    for name in ("order-summary", "product-sales"):
        await manager.rebuild(name)
        await manager.start(name)
    some = "SELECT order_id FROM order_summary ORDER BY order_id"
    async with engine.begin() as connection:
        await connection.execute(
            text(f"UPDATE order_summary SET total = total + 10 WHERE order_id IN ({some} LIMIT 60)")
        )
        await connection.execute(
            text(f"DELETE FROM order_summary WHERE order_id IN ({some} DESC LIMIT 2)")
        )


async def _a_busy_moment(manager: ProjectionManager, engine: AsyncEngine) -> None:
    """One read model falls behind and comes back, while another is being built."""
    await manager.stop("product-sales")
    for number in range(_LATE_ORDERS):
        item = {"sku": f"late-{number % 9}", "quantity": 1, "unit_price": "2.50"}
        async with engine.begin() as connection:
            await append(
                connection,
                f"late-{number}",
                [NewEvent("OrderPlaced", {}), NewEvent("ItemAdded", item)],
            )
        if number % 40 == 0:
            await asyncio.sleep(_LAG_SECONDS * 40 / _LATE_ORDERS)
    await manager.start("product-sales")
    await manager.start_rebuild("customer-summary", events_per_second=300, batch_size=100)
    await asyncio.sleep(_LAG_SECONDS)


if __name__ == "__main__":
    main()
