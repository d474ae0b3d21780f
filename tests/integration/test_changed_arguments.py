"""A handler that changes the event it is given: it is given each one as it was written."""

from __future__ import annotations

import pytest
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table, Text
from temporalio.client import Client

from refold import BackfillPolicy, Event, Projection, Row
from refold.requests.poison_policy import OnPoison
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import letters
from tests.support.runs import rows_of, run, working, write


def _doubling(*, function: bool) -> Projection:
    made = Projection(
        "doubling",
        table=Table(
            "doubling",
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("n", Integer, nullable=False),
            CheckConstraint("n < 100", name="small"),
        ),
        key=(lambda event: event.data["key"]) if function else "data.key",
        backfill=BackfillPolicy(on_poison=OnPoison.SET_ASIDE),
    )

    @made.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        event.data["by"][0] *= 2
        return {"n": (row["n"] if row else 0) + event.data["by"][0]}

    return made


@pytest.mark.parametrize("function", [False, True])
async def test_a_refused_row_is_traced_with_events_as_they_were(
    client: Client, database: Database, *, function: bool
) -> None:
    """Rebuilt by paths, and followed by a function: the row before the poison event is right."""
    projection = _doubling(function=function)
    amounts = [1, 1, 1, 1, 1, 1000, 1]
    await write(database.engine, [("s", "Added", {"key": "k", "by": [by]}) for by in amounts])
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "doubling")
    assert [letter.position for letter in await letters(database, "doubling")] == [6]
    assert await rows_of(database.engine, projection) == {"k": {"key": "k", "n": 10}}
