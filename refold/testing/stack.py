"""A pytest fixture with real servers: ``pytest_plugins = ["refold.testing.stack"]``.

It needs pytest and the extra ``refold[stack]``. The servers are those of `refold dev`, in a
directory of their own, which is gone after the tests.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from refold.messages.search_attributes import SEARCH_ATTRIBUTES
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.errors import StackError
from refold.stack.stack import Stack
from refold.store.migrate import migrate

__all__ = ["RefoldStack", "refold_stack"]


@dataclass(frozen=True)
class RefoldStack:
    """Where the servers of a test are.

    Attributes:
        database_url: PostgreSQL with Refold's schema.
        temporal_address: ``host:port`` of Temporal.
        ui_url: Temporal's UI.
        environment: Variables that lead `refold` and programs there.
    """

    database_url: str
    temporal_address: str
    ui_url: str
    environment: Mapping[str, str]


@pytest.fixture(scope="session")
def refold_stack() -> Iterator[RefoldStack]:
    """PostgreSQL, Temporal and a worker with the projections of `REFOLD_PROJECTIONS`.

    One for the session. Where the extra is not installed, tests that ask for it fail and say so.
    """
    with tempfile.TemporaryDirectory(prefix="refold-testing-") as directory:
        stack = Stack(Path(directory), workers=1, migrate=_migrate, keywords=SEARCH_ATTRIBUTES)
        start(stack)
        try:
            yield RefoldStack(
                stack.database_url, stack.temporal_address, stack.ui_url, stack.environment
            )
        finally:
            stack.stop()


def start(stack: Stack) -> None:
    """Starts it; where that does not work, the tests that ask for it fail, and say why."""
    try:
        stack.start()
    except StackError as error:
        pytest.fail(f"refold_stack: {error}", pytrace=False)


def _migrate(url: str) -> None:
    async def run() -> None:
        engine = make_engine(Settings(database_url=url), activities=0)
        try:
            await migrate(engine)
        finally:
            await engine.dispose()

    asyncio.run(run())
