"""What a person does on the page of `refold web`."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.async_api import Locator, Page

from tools.pictures.browser import Camera


@dataclass(frozen=True)
class PageTour:
    """A person at the page.

    Attributes:
        page: The page.
        camera: Takes pictures on the way.
    """

    page: Page
    camera: Camera

    async def open(self, address: str) -> None:
        """Opens the address that `refold web` has printed, and waits for the first look."""
        await self.page.goto(address)
        await self.page.locator(".pulse.on").wait_for()
        await self.page.locator(".card").first.wait_for()

    async def picture(self, name: str, *, whole: bool = False) -> None:
        """Takes a picture, without what was just said, from the top."""
        await self.page.evaluate("document.getElementById('said').hidden = true; scrollTo(0, 0)")
        await self.camera.take(self.page, name, whole=whole)

    async def choose(self, name: str) -> None:
        """Opens a projection."""
        await self.page.locator(f'.card[data-key="{name}"]').click()
        await self.page.locator("#panel h2", has_text=name).wait_for()
        await self.box("Generations").wait_for()

    def box(self, title: str) -> Locator:
        """A part of the opened projection, by its heading."""
        return self.page.locator(f'#panel .box[data-box="{title}"]')

    async def until(self, state: str) -> None:
        """Waits until the opened projection is in this state."""
        await self.page.locator("#panel .title .chip", has_text=state).wait_for()

    async def press(self, button: str, sure: str | None = None, **fields: str) -> None:
        """Presses a button, fills in what it asks, and says yes.

        Args:
            button: What is on the button.
            sure: The beginning of what is on the button of the question; as `button` if left out.
            fields: Values of the question's fields, by name.
        """
        await self.page.locator("#panel").get_by_role("button", name=button, exact=True).click()
        question = self.page.locator("#ask[open]")
        for name, value in fields.items():
            field = question.locator(f"[name={name}]")
            if await field.evaluate("field => field.tagName") == "SELECT":
                await field.select_option(value)
            else:
                await field.fill(value)
        await question.get_by_role("button", name=f"Yes, {(sure or button).lower()}").click()
        await question.wait_for(state="hidden")

    async def rebuilt_for_approval(self) -> None:
        """Starts a rebuild that asks a person, and waits for its diff."""
        await self.press("Rebuild", approval="manual")
        await self.until("awaiting approval")
        await self.box("What the rebuild changes").locator(".numbers").wait_for()

    async def approved(self, generation: int) -> None:
        """Approves, and waits until this generation is live."""
        await self.press("Approve")
        await self.live(generation)

    async def rolled_back(self, generation: int) -> None:
        """Rolls back to a generation, and waits until it is live."""
        row = self.generation(generation)
        await row.get_by_role("button", name="Roll back to it").click()
        await self.page.locator("#ask[open]").get_by_role("button", name="Yes, rollback").click()
        await self.live(generation)

    def generation(self, number: int) -> Locator:
        """The row of a generation in its table."""
        first = self.page.locator("td:first-child", has_text=f"{number}")
        return self.box("Generations").locator("tbody tr").filter(has=first)

    async def live(self, generation: int) -> None:
        """Waits until readers query this generation, and its run has ended."""
        await self.generation(generation).locator("td", has_text="live").wait_for()
        await self.box("Latest run").wait_for()

    async def life(self, key: str) -> str:
        """Asks why a row is as it is; returns what is told."""
        box = self.box("Rows, and why they are so")
        await box.locator("input[name=key]").first.fill(key)
        await box.get_by_role("button", name="Why is it so?").click()
        await box.locator("p > b", has_text=f" {key}, version").wait_for()
        return await box.inner_text()
