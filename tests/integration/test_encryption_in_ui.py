"""Temporal's UI with the codec server, in a headless Chromium: what is encrypted is seen, and sent.

The soak has it: it is Temporal's UI that is looked at, with a server and a browser of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from refold.runtime.payloads.codec import ENCODING
from refold.runtime.payloads.converter import make_data_converter
from refold.runtime.payloads.keys import add_key
from tests.support.chromium import require_chromium
from tests.support.codec import serving
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, working, write
from tools.pictures.browser import Camera, a_page, browsing
from tools.pictures.ui_tour import TALL, UiTour


@pytest.mark.soak
async def test_the_ui_shows_and_sends_what_is_encrypted(database: Database, tmp_path: Path) -> None:
    require_chromium()
    key_file, port = tmp_path / "payload.keys", free_port()
    add_key(key_file)
    ui = f"http://127.0.0.1:{port}"
    await write(database.engine, some())
    with serving(key_file, ui) as endpoint:
        async with await WorkflowEnvironment.start_local(
            dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
            dev_server_log_level="error",
            ui=True,
            ui_port=port,
            dev_server_extra_args=["--ui-codec-endpoint", endpoint],
        ) as environment:
            client = await Client.connect(
                environment.client.service_client.config.target_host,
                data_converter=make_data_converter(key_file),
            )
            async with (
                working(client, database, registry_of(counters()), task_queue="refold"),
                browsing() as browser,
                a_page(browser, TALL, own=False) as page,
            ):
                tour = UiTour(page, Camera(tmp_path), ui)
                asked = {"projection": "counters", "approval": "manual"}
                run = await tour.start("Rebuild", "rebuild/counters", asked)
                handle = client.get_workflow_handle("rebuild/counters", run_id=run)
                first = (await handle.fetch_history()).events[0]
                (given,) = first.workflow_execution_started_event_attributes.input.payloads
                assert given.metadata["encoding"] == ENCODING
                await tour.open("rebuild/counters", run)
                told = await tour.details("awaiting_approval")
                assert "refold approve counters" in told
                await tour.camera.take(page, "awaiting-approval")
                await tour.signal("approve")
                await tour.details("completed")
                await page.goto(f"{ui}/namespaces/default/workflows/rebuild%2Fcounters/{run}")
                await page.get_by_text('"projection"').first.wait_for()
                await tour.camera.take(page, "history")
    await assert_oracle(database.engine, counters())
