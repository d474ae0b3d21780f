"""Gaps in the positions are passed after a while, recorded, and looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from refold import ConfigurationError, Patience
from refold.source.head import SettledHead
from refold.source.port.current import event_source, using
from refold.source.port.event_source import EventSource
from refold.source.settled.gaps import look_again
from refold.source.settled.patience import patience_of
from tests.support.databases import Database
from tests.support.pooled import DDL, Node, pooled
from tests.support.runs import until
from tests.support.settling import Reader, reading, session

SECONDS = 0.3


@pytest.fixture(autouse=True)
def kept() -> None:
    """Not the logs of the other tests here."""


@pytest.fixture(autouse=True)
async def source(database: Database) -> AsyncIterator[EventSource]:
    if database.events_url is not None:
        pytest.skip("Patience is refused for events in another database")
    async with session(database) as connection:
        await connection.execute(DDL)
    with using(pooled(Patience(SECONDS))) as source:
        yield source


@pytest.fixture
async def reader(database: Database, source: EventSource) -> AsyncIterator[Reader]:
    async with reading(database) as reader:
        yield reader


@pytest.fixture
async def nodes(database: Database) -> AsyncIterator[tuple[Node, Node]]:
    async with session(database) as a, session(database) as b, session(database) as drawing:
        yield Node(a, drawing), Node(b, drawing)


async def passes(reader: Reader) -> list[int]:
    """What is read once the gap is passed."""
    found: list[int] = []

    async def there() -> bool:
        found.extend(await reader.look())
        return bool(found)

    await until(there)
    return found


async def again(
    database: Database, source: EventSource
) -> tuple[int, list[tuple[int, int]], list[int]]:
    """Looks at gaps again: how many events were late; the gaps that are left; all late events."""
    patience = patience_of(source)
    assert patience is not None
    async with database.engine.connect() as connection:
        found = await look_again(connection, source, patience)
        gaps = await connection.execute(
            text("SELECT low, high FROM refold.passed_gaps ORDER BY low")
        )
        late = await connection.execute(text("SELECT position FROM refold.late_events ORDER BY id"))
        return found, [(row.low, row.high) for row in gaps], list(late.scalars())


async def test_without_a_gap_nothing_is_waited_for(
    reader: Reader, nodes: tuple[Node, Node]
) -> None:
    one, _ = nodes
    written = [(await one.write()).position for _ in range(3)]
    assert await reader.look() == written == [1, 2, 3]
    assert (reader.head.position, reader.head.waiting_for) == (3, [])


async def test_a_gap_is_passed_recorded_and_looked_at_again(
    database: Database, source: EventSource, reader: Reader, nodes: tuple[Node, Node]
) -> None:
    one, other = nodes
    await one.write()
    await other.write()
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await reader.look() == [1]
    [awaited] = reader.head.waiting_for
    assert str(awaited).startswith("nobody yet at positions 2 to 50, awaited for 0 s at most")
    assert await passes(reader) == [51]
    assert clock() - began >= SECONDS
    assert await again(database, source) == (0, [(2, 50)], [])
    await one.write()
    await other.write()
    # In the midst of the gap, and at its end.
    for position in (10, 50):
        one._left = [position]
        await one.write()
    assert await reader.look() == [52]
    assert await again(database, source) == (3, [(3, 9), (11, 49)], [2, 10, 50])
    assert await again(database, source) == (0, [(3, 9), (11, 49)], [2, 10, 50])


async def test_whoever_was_at_work_when_the_gap_was_seen_is_waited_for(
    reader: Reader, nodes: tuple[Node, Node], database: Database
) -> None:
    one, other = nodes
    await one.connection.execute("BEGIN")
    first = await one.write()
    await other.write()
    for _ in range(2):
        assert await reader.look() == []
        await asyncio.sleep(1.5 * SECONDS)
    assert [w.pid for w in reader.head.waiting_for] == [one.connection.get_server_pid()]
    # Who begins later is not waited for, nor one who only reads.
    async with session(database) as later, session(database) as idle:
        await later.execute("BEGIN; CREATE TABLE anything ()")
        await idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pooled")
        await one.connection.execute("COMMIT")
        assert await reader.look() == [first.position, 51]


async def test_what_one_has_passed_is_settled_for_all(
    database: Database, reader: Reader, nodes: tuple[Node, Node]
) -> None:
    one, other = nodes
    await one.write()
    await other.write()
    await reader.look()
    # Such as for `refold status`: it tells what is settled, and passes nothing.
    shown = SettledHead(records=False)
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await asyncio.sleep(1.2 * SECONDS)
        assert await shown.poll(connection) == 1
        assert await reader.look() == [51]
        event_source().settled.marks._of.clear()  # type: ignore[attr-defined]
        assert await shown.poll(connection) == 51
        assert await SettledHead().poll(connection) == 51


async def test_gaps_beyond_their_time_or_number_are_given_up(
    database: Database, reader: Reader, nodes: tuple[Node, Node]
) -> None:
    one, _ = nodes
    for position in (2, 4, 6, 8):
        one._left = [position]
        await one.write()
    assert await passes(reader) == [2, 4, 6, 8]
    few = pooled(Patience(SECONDS, most_gaps=2))
    assert await again(database, few) == (0, [(5, 5), (7, 7)], [])
    short = pooled(Patience(0, again_seconds=0))
    assert await again(database, short) == (0, [], [])


async def test_positions_that_are_apart_by_a_step_have_no_gaps(
    database: Database, nodes: tuple[Node, Node]
) -> None:
    one, _ = nodes
    with using(pooled(Patience(SECONDS, step=50))):
        for position in (49, 99, 149, 249):
            one._left = [position]
            await one.write()
        async with reading(database) as reader:
            assert await reader.look() == [49, 99, 149]
            assert await passes(reader) == [249]


async def test_rows_that_are_left_out_are_no_gap(
    database: Database, nodes: tuple[Node, Node]
) -> None:
    from sqlalchemy import select

    one, _ = nodes
    whole = pooled(Patience(SECONDS))
    table = whole.tables[0]
    numbers = select(table.c.n)
    part = EventSource(
        select(table).where(table.c.type != "Command"),
        position=table.c.n,
        type=table.c.type,
        data=table.c.data,
        settled=Patience(SECONDS, numbers=numbers),
        first=1,
        name="pooled",
    )
    with using(part):
        await one.write()
        await one.write("Command")
        await one.write()
        async with reading(database) as reader:
            assert await reader.look() == [1, 3]


@pytest.mark.parametrize(
    "wrong", [{"seconds": -1}, {"again_seconds": 5}, {"step": 0}, {"most_gaps": 0}]
)
def test_numbers_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="or more, got"):
        Patience(**wrong)


async def test_two_who_look_at_once_find_a_late_event_once(
    database: Database, source: EventSource, reader: Reader, nodes: tuple[Node, Node]
) -> None:
    one, other = nodes
    await one.write()
    await other.write()
    await reader.look()
    await passes(reader)
    await one.write()
    found = await asyncio.gather(*(again(database, source) for _ in range(4)))
    assert sum(count for count, _, _ in found) == 1
    assert (await again(database, source))[2] == [2]
