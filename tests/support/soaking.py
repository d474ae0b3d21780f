"""Variants of a test that only the soak runs."""

from __future__ import annotations

from typing import Any

import pytest


def soak(*values: Any) -> list[Any]:
    """Values for `pytest.mark.parametrize`, each left to `make soak`."""
    return [pytest.param(*_parts(value), marks=pytest.mark.soak) for value in values]


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
