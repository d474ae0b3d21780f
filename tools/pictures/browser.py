"""A headless Chromium of the system, and a camera."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright

WAIT_SECONDS = 30
"""How long a page may take to show what is expected."""

DESKTOP, PHONE = (1280, 900), (390, 844)


def chromium() -> str | None:
    """Where Chromium is; None when it is not installed. Debian's package `chromium` has it."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Camera:
    """Takes pictures, or none.

    Attributes:
        place: The folder; None for no pictures.
        taken: The pictures that were taken.
    """

    place: Path | None = None
    taken: list[Path] = field(default_factory=list)

    async def take(self, page: Page, name: str, *, whole: bool = False) -> None:
        """Takes a picture of what is to be seen, or of the whole page."""
        if self.place is None:
            return
        self.place.mkdir(parents=True, exist_ok=True)
        path = self.place / f"{name}.png"
        await page.screenshot(path=path, full_page=whole, animations="disabled")
        self.taken.append(path)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser, closed at the end.

    Raises:
        FileNotFoundError: There is no Chromium.
    """
    path = chromium()
    if path is None:
        raise FileNotFoundError("no Chromium here: `apt-get install chromium` brings it")
    # As root it has no sandbox to offer; the pages are our own.
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def a_page(
    browser: Browser,
    size: tuple[int, int] = DESKTOP,
    colours: Literal["light", "dark"] = "light",
    *,
    own: bool = True,
) -> AsyncIterator[Page]:
    """A page of its own, as on a new device.

    Args:
        browser: The browser.
        size: Width and height in pixels.
        colours: Which ones the device prefers.
        own: Whether it is Refold's: then no script may fail.

    Raises:
        AssertionError: A script of Refold's has failed.
    """
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=colours
    )
    context.set_default_timeout(WAIT_SECONDS * 1000)
    wrong: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert not (own and wrong), wrong
