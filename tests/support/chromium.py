"""Whether there is a browser."""

from __future__ import annotations

import pytest

from tools.pictures.browser import chromium


def require_chromium() -> None:
    """Skips the test where Chromium is missing."""
    if chromium() is None:
        pytest.skip("there is no Chromium here: `apt-get install chromium` brings it")
