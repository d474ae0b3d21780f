"""`refold web` as a process: the address that it prints leads to the page, and it ends in order."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from tests.acceptance.stack import DevStack
from tests.support.processes import clean_environment
from tools.pictures.process import refold_web


def test_it_serves_at_the_printed_address_until_it_is_told_to_end(
    dev: DevStack, tmp_path: Path
) -> None:
    log = tmp_path / "web.log"
    with refold_web(clean_environment(**dev.variables), log, "--control") as (printed, process):
        address, _, token = printed.partition("#token=")
        assert len(token) >= 16
        assert "<title>Refold</title>" in httpx.get(address).text
        assert httpx.get(f"{address}api/projections/order-summary").status_code == 401
        with httpx.stream(
            "GET", f"{address}api/stream", headers={"authorization": f"Bearer {token}"}
        ) as watching:
            lines = watching.iter_lines()
            assert next(lines) == "event: lags"
            # It ends though somebody watches, and lets them go.
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert [*lines][-1] == ""
    assert "Traceback" not in log.read_text()
    assert token in log.read_text()
