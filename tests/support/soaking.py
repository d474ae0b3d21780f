"""Variants of a test that only the soak runs."""

from __future__ import annotations

from typing import Any

import pytest


def soak(*values: Any) -> list[Any]:
    """Values for `pytest.mark.parametrize`, each left to `make soak`."""
    return [pytest.param(*_parts(value), marks=pytest.mark.soak) for value in values]


def mostly_soak(*values: Any, suite: int) -> list[Any]:
    """All of the values, the first few also in the suite."""
    return [*values[:suite], *soak(*values[suite:])]


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
