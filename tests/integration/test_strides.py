"""Strides: many batches' events in one transaction, read ahead; the rows are the same."""

from __future__ import annotations

import logging
import random
import sys
import time
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, text

from refold import Event, Projection, Row
from refold.engine.strides import ahead, stride
from refold.engine.strides.folding import StrideFold
from refold.errors import PoisonEvent
from refold.projection.narrowed.sent_event import Sent
from refold.store.tables.many import together
from refold.store.tables.many.together import Standing, Together, standing_of
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.letters import assert_held_oracle, letters
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    last,
    write,
)
from tests.support.soaking import soak
from tests.support.strides import (
    Taken,
    again,
    built,
    easy,
    followed,
    following,
    log_of,
    small,
    taken,
)

__all__ = ["small", "taken"]

pytestmark = pytest.mark.usefixtures("small")


# -- the rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("logs", [2, *soak(40)])
async def test_random_logs(
    database: Database, taken: Taken, monkeypatch: pytest.MonkeyPatch, logs: int
) -> None:
    """Poison is set aside; strides end at random places; the log grows meanwhile."""
    seed = random.randrange(10**6) if logs > 2 else 7
    print("seed", seed)
    chance = random.Random(seed)
    projections = easy()
    for projection in projections:
        await built(database, projection)
    for number in range(logs):
        await write(
            database.engine,
            log_of(chance, 500 if logs > 2 else 300, poison=chance.choice([0, 0.01, 0.1])),
        )
        monkeypatch.setattr(stride, "_MOST_KEYS", chance.choice([3, 15, 10_000]))
        monkeypatch.setattr(stride, "ROWS_BYTES", chance.choice([300, 1 << 20]))
        monkeypatch.setattr(ahead, "_READY_BYTES", chance.choice([0, 3000, 1 << 20]))
        monkeypatch.setattr(ahead, "_POSITIONS", chance.choice([60, 170, 10_000]))
        monkeypatch.setattr(together, "_WORTH_COPY", chance.choice([1, 10, 1000]))
        head = await last(database)
        for projection in projections:
            if number % 5 == 4:
                await again(database, projection)
            await followed(database, projection, head)
            assert await checkpoint(database.engine, projection) == head
            assert await assert_held_oracle(database, projection)
    assert taken.well >= 3 * logs
    print(taken)


async def test_a_row_is_written_once(
    database: Database, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = Together.write

    async def write_together(self: Together, *args: Any, **more: Any) -> None:
        written.append(len(self.added) + len(self.changed))
        await real(self, *args, **more)

    monkeypatch.setattr(Together, "write", write_together)
    projection = counters()
    await built(database, projection)
    await write(
        database.engine, [("s", "Added", {"key": f"k{n % 30}", "n": n}) for n in range(900)]
    )
    await followed(database, projection, 900)
    assert written == [30]
    assert taken.events == 900
    await assert_oracle(database.engine, projection)


@pytest.mark.parametrize("takes_copy", [True, False])
async def test_new_rows_and_old_ones(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: Taken, takes_copy: bool
) -> None:
    async def standing(*_: Any) -> Standing:
        return Standing(has_large=False, takes_copy=takes_copy)

    async def no_copy(*_: Any) -> None:
        raise AssertionError("COPY")

    monkeypatch.setattr(stride, "standing_of", standing)
    if not takes_copy:
        monkeypatch.setattr(RowStore, "load", no_copy)
    projection = counters()
    await built(database, projection)
    for start in (0, 60):
        keys = range(start, start + 120)
        await write(database.engine, [("s", "Added", {"key": f"k{n}", "n": n}) for n in keys])
        await write(database.engine, [("s", "Removed", {"key": f"k{start + 9}"})])
        await followed(database, projection, await last(database))
    assert len(await assert_oracle(database.engine, projection)) == 178
    assert taken.well == 2


async def test_policies_that_bind_the_role_forbid_copy(database: Database) -> None:
    rows = RowStore(physical(counters(), "public"))
    await built(database, counters())
    async with database.engine.connect() as connection, connection.begin():
        assert (await standing_of(connection, rows)).takes_copy
        for statement in (
            "CREATE ROLE bound_by_policies",
            "GRANT ALL ON counters TO bound_by_policies",
            "ALTER TABLE counters ENABLE ROW LEVEL SECURITY",
            "SET LOCAL ROLE bound_by_policies",
        ):
            await connection.execute(text(statement))
        assert not (await standing_of(connection, rows)).takes_copy
        await connection.rollback()


# -- what does not go smoothly ---------------------------------------------------------------


async def test_a_poison_event_is_met_by_a_batch(database: Database, taken: Taken) -> None:
    projection = counters()
    await built(database, projection)
    chance = random.Random(1)
    events = [*log_of(chance, 300, poison=0), ("bad", "Broken", {"key": "k001"})]
    await write(database.engine, [*events, *log_of(chance, 300, poison=0)])
    with pytest.raises(PoisonEvent, match="event 301"):
        await followed(database, projection, 601)
    read = [n for n, (_, kind, _) in enumerate(events[:300], 1) if kind != "Other"]
    assert await checkpoint(database.engine, projection) == read[-1]
    await assert_oracle(database.engine, projection)
    assert taken.events == len(read)


async def test_refused_rows_are_traced_as_without_strides(database: Database, taken: Taken) -> None:
    """A check that the declaration does not know, and a value that only one row can have."""
    projection, *_ = easy()
    await built(database, projection)
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE counters ADD CHECK (count < 20)"))
        await connection.execute(
            text("CREATE UNIQUE INDEX one_of_last ON counters (last) WHERE last > 80")
        )
    await write(database.engine, log_of(random.Random(3), 700, poison=0))
    found = []
    for by_strides in (False, True):
        await again(database, projection)
        async with following(database, projection, by_strides=by_strides) as (follower, connection):
            while follower.position < 700:
                await follower.commit_batch(connection, 700)
        found.append([(one.key, one.position, one.error) for one in await letters(database)])
    assert taken.left
    assert found[0] == found[1]
    assert len(found[0]) > 1


async def test_keys_that_are_held_stay_as_they_are(database: Database, taken: Taken) -> None:
    projection, _, halves = easy()
    for one in (projection, halves):
        await built(database, one)
    await write(database.engine, [("s", "Broken", {"key": "k004"})])
    for one in (projection, halves):
        await followed(database, one, 1)
    await write(database.engine, log_of(random.Random(4), 400, poison=0))
    for one in (projection, halves):
        await followed(database, one, 401)
        rows = await assert_held_oracle(database, one)
        assert "k004" not in rows
    assert taken.events == 2 * 400 - 2 * _others()


def _others() -> int:
    return sum(kind == "Other" for _, kind, _ in log_of(random.Random(4), 400, poison=0))


async def test_slow_handlers_end_a_stride(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    monkeypatch.setattr(stride, "PIECE_SECONDS", 0.05)
    projection = counters()
    quick = projection.handlers["Added"]

    def slow(row: Row | None, event: Event) -> Row | None:
        time.sleep(0.002)
        return quick(row, event)

    projection.handlers["Added"] = slow
    await built(database, projection)
    await write(database.engine, log_of(random.Random(5), 300, poison=0))
    await followed(database, projection, 300)
    await assert_oracle(database.engine, projection)
    assert taken.well > 3


def _peek(event: Event) -> Any:
    return event.version


def _peek_further(event: Event) -> Any:
    return event.data["n"]


def hiding(row: Row | None, event: Event) -> Row:
    try:
        seen = _peek(event)
    except BaseException:  # it lets nobody know
        seen = -1
    return {"seen": seen + (row["seen"] if row else 0)}


async def test_code_that_reads_more_than_it_shows_is_sent_all(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    taken: Taken,
) -> None:
    table = Table(
        "hiding",
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("seen", Integer, nullable=False),
    )
    projection = Projection("hiding", table=table, key="stream_id")
    projection.on("Added")(hiding)
    await built(database, projection)
    monkeypatch.setattr(sys.modules[__name__], "_peek", _peek_further)
    await write(database.engine, log_of(random.Random(6), 300, poison=0))
    async with following(database, projection) as (follower, connection):
        assert follower.strides is not None
        # As if all that is seen of its code were this.
        follower.strides._sent = Sent(frozenset({"version"}))
        with caplog.at_level(logging.WARNING):
            while follower.position < 300:
                await follower.commit_batch(connection, 300)
    assert "hiding reads data of events, which its code does not show" in caplog.text
    await assert_oracle(database.engine, projection)
    assert taken.left
    assert taken.well


async def test_large_rows_end_a_stride(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    """Of those that the table has, and of those that come of events: few are in memory."""
    monkeypatch.setattr(stride, "ROWS_BYTES", 400_000)
    most = 0
    real = StrideFold.fold

    def fold(self: StrideFold, *args: Any) -> None:
        nonlocal most
        real(self, *args)
        most = max(most, sum(len(row["text"]) for row in self.current.values() if row))

    monkeypatch.setattr(StrideFold, "fold", fold)
    table = Table("texts", MetaData(), Column("id", Text, primary_key=True), Column("text", Text))
    projection = Projection("texts", table=table, key="stream_id")

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        return {"text": event.data["text"][::-1] + (row["text"][:100] if row else "")}

    await built(database, projection)
    chance = random.Random(14)
    for _ in range(2):
        texts = ["".join(chance.choices("abcdefgh", k=9000)) for _ in range(150)]
        await write(database.engine, [(f"s{n}", "Added", {"text": t}) for n, t in enumerate(texts)])
        await followed(database, projection, await last(database))
        await assert_oracle(database.engine, projection)
    assert taken.well > 3
    assert most < 900_000
