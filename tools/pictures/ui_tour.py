"""What a person does in the Temporal UI, as docs/run-a-rebuild.md tells it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from playwright.async_api import Error, Page

from tools.pictures.browser import WAIT_SECONDS, Camera

_LOOK_AGAIN_SECONDS = 1.5

TALL = (1280, 1400)
"""All details are to be seen at once."""


@dataclass(frozen=True)
class UiTour:
    """A person at the Temporal UI.

    Attributes:
        page: The page.
        camera: Takes pictures on the way.
        address: The UI's, such as ``http://127.0.0.1:8233``.
    """

    page: Page
    camera: Camera
    address: str

    async def start(self, kind: str, workflow_id: str, request: dict[str, Any]) -> str:
        """Starts a workflow from the form; returns its run id."""
        fields = urlencode({"taskQueue": "refold", "workflowType": kind, "workflowId": workflow_id})
        await self.page.goto(f"{self._workflows}/start-workflow?{fields}")
        await self._type(json.dumps(request))
        await self.page.get_by_test_id("start-workflow-button").click()
        started = self.page.locator("a", has_text="Workflow started successfully")
        address = await started.get_attribute("href")
        assert address is not None
        return address.rstrip("/").split("/workflows/")[1].split("/")[1]

    async def open(self, workflow_id: str, run_id: str) -> None:
        """Opens a run at its details."""
        await self.page.goto(
            f"{self._workflows}/{quote(workflow_id, safe='')}/{run_id}/user-metadata"
        )

    async def details(self, *words: str) -> str:
        """The current details of the opened workflow, once they have these words.

        Raises:
            TimeoutError: They never had.
        """
        text = ""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    text = await self._shown()
                    if all(word in text for word in words):
                        return text
                    # "Press R for freshness"
                    await self.page.keyboard.press("r")
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"expected {words} in the details, got {text!r}") from None

    async def signal(self, name: str) -> None:
        """Sends a signal without input to the opened workflow."""
        await self.page.get_by_role("button", name="More Actions").click()
        await self.page.get_by_role("menuitem", name="Send a Signal").click()
        question = self.page.locator("#signal-confirmation-modal[open]")
        named = self.page.locator("span", has_text=re.compile(f"^{name}$"))
        await question.locator("li[role=option]").filter(has=named).dispatch_event("click")
        await question.get_by_role("button", name="Submit").click()
        await question.wait_for(state="hidden")

    async def listed(self, query: str) -> list[str]:
        """The rows that the list shows for a query."""
        await self.page.goto(f"{self._workflows}?{urlencode({'query': query})}")
        rows = self.page.locator("main table tbody tr")
        await rows.first.wait_for()
        return await rows.all_inner_texts()

    @property
    def _workflows(self) -> str:
        return f"{self.address}/namespaces/default/workflows"

    async def _type(self, text: str) -> None:
        field = self.page.locator('[contenteditable][aria-label="Data"]').first
        await field.click()
        await self.page.keyboard.press("Control+a")
        await self.page.keyboard.insert_text(text)
        # What is left is set in lines: a button that was to be clicked moves away meanwhile.
        await self.page.locator("#workflowType").focus()
        await field.locator(".cm-line").nth(1).wait_for()

    async def _shown(self) -> str:
        await self.page.get_by_text("Current Details").wait_for()
        # Markdown is shown in frames of its own, which are made anew with each answer.
        frames = [frame for frame in self.page.frames if frame is not self.page.main_frame]
        try:
            return "\n".join([await frame.locator("body").inner_text() for frame in frames])
        except Error:
            return ""
