"""`refold web` in a headless Chromium: a person looks, approves by a button, and rolls back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, Page
from temporalio.client import Client

from refold.projection.registry import load_registry
from tests.integration.test_web import tamper
from tests.support.chromium import require_chromium
from tests.support.databases import Database
from tests.support.hostile import BROKEN, GREETED, HOSTILE, SECRET, guests
from tests.support.letters import assert_held_oracle
from tests.support.runs import run, working, write
from tests.support.served import PROJECTIONS, TOKEN, Served, served
from tools.pictures.browser import DESKTOP, PHONE, Camera, a_page, browsing
from tools.pictures.page_tour import PageTour

WHY = "Rows, and why they are so"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests here."""
    require_chromium()
    async with browsing() as one:
        yield one


@pytest.fixture
async def built(client: Client, database: Database) -> AsyncIterator[None]:
    """A worker, and ``guests`` built, with a dead letter and a row that was changed by hand."""
    plain = [(f"stream-{n}", "Greeted", {"key": f"k{n}", "name": f"{n}"}) for n in range(9)]
    await write(database.engine, [GREETED, BROKEN, *plain])
    async with working(client, database, load_registry([PROJECTIONS])):
        await run(client, database, "Rebuild", "guests")
        await tamper(database)
        yield


DEVICES: list[tuple[tuple[int, int], Literal["light", "dark"]]] = [
    (DESKTOP, "light"),
    (PHONE, "dark"),
]


async def test_approved_and_rolled_back_by_buttons(
    client: Client,
    database: Database,
    built: None,
    browser: Browser,
    *,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    async with served(client, database, monkeypatch, control=True) as web, a_page(browser) as page:
        tour = PageTour(page, Camera(tmp_path))
        await _another_token_is_refused(page, web)
        await tour.open(f"{web.address}#token={TOKEN}")
        assert TOKEN not in page.url
        await tour.choose("guests")
        await tour.rebuilt_for_approval()
        (sample,) = await tour.box("What the rebuild changes").locator(".sample").all()
        shown = await sample.inner_text()
        assert "key = k3" in shown
        assert "by hand" in shown
        await tour.picture("diff")
        await tour.approved(2)
        await assert_held_oracle(database, guests)
        await tour.rolled_back(1)
        assert await tour.generation(2).locator("td", has_text="retained").count() == 1

        told = await tour.life("k3")
        assert "Greeted" in told
        assert "not what its events make of it" in told
        assert HOSTILE in await tour.life(HOSTILE)
        await tour.box(WHY).get_by_role("button", name="First rows").click()
        await tour.box(WHY).locator("tr.pick").first.wait_for()
        assert SECRET in await tour.box("Dead letters").inner_text()
        # What people have written is text, and has done nothing.
        assert await page.locator("#panel img").count() == 0
        assert await page.title() == "guests · Refold"
        await tour.picture("life", whole=True)
        assert all(picture.stat().st_size > 10_000 for picture in tour.camera.taken)


async def _another_token_is_refused(page: Page, web: Served) -> None:
    """It is asked for again; the right one that is typed lets in, for this tab only."""
    await page.goto(f"{web.address}#token=another-token-than-that")
    question = page.locator("#ask[open]")
    await question.locator("p", has_text="got another one").wait_for()
    assert await page.locator(".card").count() == 0
    await question.locator("input").fill(TOKEN)
    await question.get_by_role("button", name="Open").click()
    await page.locator(".card").wait_for()


async def test_without_control_there_is_nothing_to_press(
    client: Client,
    database: Database,
    built: None,
    browser: Browser,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(client, database, monkeypatch, control=False) as web:
        for size, colours in DEVICES:
            async with a_page(browser, size, colours) as page:
                tour = PageTour(page, Camera())
                await tour.open(web.address)
                await tour.choose("guests")
                assert await page.get_by_role("button").count() == 0
                assert await tour.box(WHY).count() == 0
                assert "read-only" in await page.locator("#mode").inner_text()
                assert SECRET not in await page.content()
                # Nothing is wider than the device, and its colours are taken.
                assert await page.evaluate("document.documentElement.scrollWidth") <= size[0]
                ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                is_light = sum(int(part) for part in ground.strip("rgb()").split(",")) > 3 * 128
                assert is_light is (colours == "light")
                # The list stays beside the opened projection where there is room.
                assert await page.locator("#list").is_visible() is (size == DESKTOP)
