"""A log that is kept in each of several ways, its reader, and two who append to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.kept_stores import STORES
from tests.support.mapped import given
from tests.support.settling import (
    BEHIND_VIEW,
    DRAWN_EARLY,
    IN_OWN,
    IN_PARTITIONS,
    PATIENT,
    Kept,
    Reader,
    keeping,
    name_of,
    reading,
    session,
)
from tests.support.soaking import soak

OTHERS = [DRAWN_EARLY, IN_PARTITIONS, BEHIND_VIEW, PATIENT]
"""Ways of keeping a log that the suite has in brief; see `test_every_store`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each log is here, and in another server."""
    if "database" in metafunc.fixturenames:
        metafunc.parametrize("database", PLACES, indirect=True)


@pytest.fixture(params=[IN_OWN, *soak(*OTHERS, *STORES)], ids=name_of, autouse=True)
async def kept(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Kept]:
    """A log whose writers write at the same time: whoever may still append is known."""
    made: Kept = request.param
    async with session(database) as connection:
        await connection.execute(given(made.ddl))
    if database.events_url is not None and made is PATIENT:
        pytest.skip("Patience is refused for events in another database")
    with keeping(made, database.events_url):
        yield made


@pytest.fixture
async def reader(database: Database, kept: Kept) -> AsyncIterator[Reader]:
    async with reading(database) as reader:
        yield reader


@pytest.fixture
async def one(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    async with session(database) as connection:
        yield connection


@pytest.fixture
async def other(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    async with session(database) as connection:
        yield connection
