"""Logs, keys and rows that are larger than a worker's memory: it stays flat, and rows are right."""

from __future__ import annotations

import pytest

from bench.large.cases import CASES
from bench.large.measure import LIMIT_MEBIBYTES, PROJECTIONS, measured


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
def test_memory_is_flat_whatever_is_large(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_PROJECTIONS", PROJECTIONS)
    found = measured(CASES[name], share=1.0)
    print(f"{name}: {found}")
    assert found.rows > 0
    assert found.different == 0
    assert found.peak < LIMIT_MEBIBYTES
