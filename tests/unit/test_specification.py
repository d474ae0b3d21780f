"""The specification's page: each name that it gives exists, and so does each test."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/specification.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| in the specification"))
]
NAME = re.compile(r"`([A-Za-z_]+)(?:\.([A-Za-z_]+))?`")
VALUES = {"same_database", "separate"}


def names() -> list[tuple[str, str]]:
    return sorted({found for row in ROWS for found in NAME.findall(row[1])})


def has(owner: Any, name: str) -> bool:
    """Whether a class has an attribute, a field, or what its constructor makes an attribute of."""
    fields = getattr(owner, "model_fields", {}) | getattr(owner, "__annotations__", {})
    return hasattr(owner, name) or name in fields or name in inspect.signature(owner).parameters


def test_there_are_rows_for_all_of_it() -> None:
    assert len(ROWS) > 50
    assert all(len(row) == 3 for row in ROWS), [row for row in ROWS if len(row) != 3]


@pytest.mark.parametrize(("first", "second"), names(), ids=".".join)
def test_a_name_is_there(first: str, second: str) -> None:
    if first in VALUES:
        return
    if first.startswith("REFOLD_"):
        assert first.removeprefix("REFOLD_").lower() in Settings.model_fields
        return
    assert first in refold.__all__, "it can be imported from refold"
    if second:
        assert has(getattr(refold, first), second)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_it_is_shown_by_a_test(row: tuple[str, ...]) -> None:
    (place,) = re.findall(r"\]\(\.\./(tests/.*\.py)\)", row[2])
    assert "def test_" in (ROOT / place).read_text()


def test_each_enumeration_is_there_whole() -> None:
    given = {second for first, second in names() if first == "Criteria"}
    assert given == {one.name for one in refold.Criteria} - {"DEAD_LETTERS"}
    methods = {second for first, second in names() if first == "ProjectionManager"}
    asked = re.findall(r"`I?[A-Z][A-Za-z]+`", PAGE)
    assert len(asked) > 60
    assert {"start", "stop", "restart", "backfill", "get_health"} <= methods
    events = {first for first, _ in names() if first.startswith("Projection")}
    assert {name for name in refold.__all__ if name.startswith("ProjectionSnapshot")} <= events
