"""Keys that are derived, and keys of single types, are the same in SQL and in Python."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Date, Integer, MetaData, String, Table, Text, Uuid, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import day, lower, month, split, week, year
from refold.projection.keys.by_type import KeyByType
from refold.projection.keys.derived import DerivedDate, DerivedText
from refold.projection.keys.part import KeyPart
from refold.projection.keys.path import KeyPath
from refold.store.schema import events
from tests.support.alike_keys import EXAMPLES, Alike, Body, alike, bodies, logged, texts
from tests.support.databases import Database
from tests.support.soaking import soak

TYPES: list[Any] = [Text(), Text(collation="pg_c_utf8"), String(3), Integer(), Uuid()]
FIRST, LAST = split("stream_id", "-", 0), lower(split("data.k", "-", -1))
TEXTS: list[DerivedText] = [
    lower("data.k"),
    lower("metadata.k"),
    *(split("data.k", "-", index) for index in (0, 1, -2, 999, -1000)),
    split("data.k.0", "-", -1),
    split("stream_id", "--", 1),
    split("data.k", "É", 0),
    split(lower("stream_id"), "é", -1),
    split(split("data.k", "|", 0), "\\", 0),
]
PLACES = ("stream_id", "data.k", "data.k.0", "metadata.k", "recorded_at")
DATES: list[DerivedDate] = [unit(place) for place in PLACES for unit in (day, week, month, year)]
ALIKE = Alike(
    [
        *[derived.part(Column("c", Text)) for derived in TEXTS],
        *[derived.part(Column("c", kind)) for derived in (FIRST, LAST) for kind in TYPES],
        *[derived.part(Column("c", Date)) for derived in DATES],
    ]
)

MOMENTS = [
    *["2026-01-31", "2024-02-29", "2023-02-29", "2000-02-29", "1900-02-29", "2026-02-30"],
    *["2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00", "0000-01-01", "0001-01-01"],
    *["9999-12-31", "10000-01-01", "-2026-01-31", "26-01-31", "2026-1-31", "20260131"],
    *["2026-01-31T23:59:59Z", "2026-01-31 23:59:59Z", "2026-01-31T23:59:59", "2026-01-31T24:00:00"],
    *["2026-01-31T23:59:59.9999999Z", "2026-01-31T23:59:59.Z", "2026-01-31T23:59:60Z"],
    *["2026-01-31T23:59Z", "2026-01-31T23:30:00-01:00", "2026-02-01T00:30:00+01:00"],
    *["2026-01-31T12:00:00+14:59", "2026-01-31T12:00:00+15:00", "2026-01-31T12:00:00+0100"],
    *["0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00-00:01", "9999-12-31T23:59:59-00:01"],
    *["2026-01-31Z", "2026-01-31T", "2026-01-31t00:00:00z", "infinity", "now", "\u0662026-01-31"],
    *["2026-01-31\n", "\n2026-01-31", "2026-01-31T00:00:00Z ", "2026-12-28", "2027-01-01"],
]
WRITTEN = [
    *["", "-", "--", "---", "a-b", "a--b", "-a", "a-", "a@B@C", "ABC", "É", "éÉ", "AÉB", "Straẞe"],
    *[
        "İi",
        "ΑΣ",
        "ς",
        "Å",
        "\u017f",
        "ǅ",
        "𐐀",
        "\U0001e900",
        "Ꮣ",
        "A|B\\C|D",
        "a\\",
        "%-_",
        "12-7",
    ],
    *["0F8FAD5B-D9CB-469F-A165-70867728950E", "x@0F8FAD5B-D9CB-469F-A165-70867728950E", "🙂-🙂"],
]
WORDS = st.one_of(
    texts,
    st.text(st.sampled_from("-@|\\ÉéAaßẞİΣ1"), max_size=8),
    st.sampled_from([*MOMENTS, *WRITTEN]),
    st.datetimes().map(datetime.isoformat),
    st.datetimes().map(lambda at: f"{at.isoformat(timespec='seconds')}+05:30"),
    st.dates().map(date.isoformat),
)
BODIES = st.tuples(
    WORDS, st.fixed_dictionaries({"k": WORDS | st.lists(WORDS, max_size=1)}) | bodies, bodies
)
TIMES = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.timezones() | st.just(UTC),
    allow_imaginary=False,
).map(lambda at: at.astimezone(UTC))


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


def chosen() -> list[Body]:
    values = [*EXAMPLES, *MOMENTS, *WRITTEN, *[[value] for value in WRITTEN]]
    return [
        (value if isinstance(value, str) else "s", {"k": value}, {"k": value}) for value in values
    ]


async def test_chosen_values_have_the_same_key(connection: AsyncConnection) -> None:
    await ALIKE.check(connection, chosen())


@alike
@given(st.lists(BODIES, max_size=30), st.lists(TIMES, min_size=1, max_size=9))
async def test_any_value_has_the_same_key(
    connection: AsyncConnection, made: list[Body], times: list[datetime]
) -> None:
    await ALIKE.check(connection, made, times=times)


@pytest.mark.soak
@settings(alike, derandomize=False, max_examples=500, print_blob=True)
@given(st.lists(BODIES, max_size=30), st.lists(TIMES, min_size=1, max_size=9))
async def test_many_values_have_the_same_key(
    connection: AsyncConnection, made: list[Body], times: list[datetime]
) -> None:
    await ALIKE.check(connection, made, times=times)


@pytest.mark.parametrize("step", [7, *soak(1)])
async def test_every_letter_is_lowered_alike(connection: AsyncConnection, step: int) -> None:
    letters = [chr(n) for n in range(1, sys.maxunicode + 1) if not 0xD800 <= n < 0xE000]
    letters = [*letters[:0x600], *letters[0x600::step]]
    lines = ["x".join(letters[at : at + 100]) for at in range(0, len(letters), 100)]
    part = lower("data.k").part(Column("c", Text))
    await Alike([part]).check(connection, [("s", {"k": line}, {}) for line in lines])


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
async def test_periods_are_in_utc_whatever_the_sessions_time_zone_is(
    connection: AsyncConnection, zone: str
) -> None:
    await connection.execute(text(f"SET TimeZone = '{zone}'"))
    await connection.execute(text("SET DateStyle = 'German, DMY'"))
    first = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    times = [first + timedelta(hours=hours) for hours in range(-30, 30)]
    words = [*MOMENTS, *[at.isoformat() for at in times]]
    made: list[Body] = [(word, {"k": word}, {"k": word}) for word in words]
    try:
        await ALIKE.check(connection, made, times=times)
    finally:
        await connection.execute(text("RESET ALL"))


@alike
@given(st.lists(BODIES, max_size=30))
async def test_keys_of_single_types_are_alike(
    connection: AsyncConnection, made: list[Body]
) -> None:
    await BY_TYPE.check(connection, made, types=("A", "B", "C", "D"))


def of_types(kind: Any, default: Any, **others: Any) -> KeyPart:
    column = Column("c", kind)
    return KeyByType(
        default.part(column), {name: other.part(column) for name, other in others.items()}
    )


BY_TYPE = Alike(
    [
        *[of_types(kind, FIRST, B=LAST, C=lower("metadata.k")) for kind in TYPES],
        *[of_types(kind, LAST, B=FIRST, C=FIRST, E=FIRST) for kind in TYPES],
        of_types(Date(), month("recorded_at"), A=week("data.k"), D=day("stream_id")),
    ]
)


async def test_a_moment_beyond_the_calendar_is_a_misfit_and_never_passed_over(
    connection: AsyncConnection,
) -> None:
    await logged(connection, [("s", {}, {})])
    part = month("recorded_at").part(Column("c", Date))
    for at in ("infinity", "-infinity", "10000-01-01 00:00Z", "0001-12-31 BC"):
        await connection.execute(text(f"UPDATE refold.events SET recorded_at = '{at}'"))
        found = (await connection.execute(select(part.sql(events), part.misfits(events)))).one()
        assert tuple(found) == (None, True), at


async def test_a_streams_column_may_have_a_collation_of_its_own(
    connection: AsyncConnection,
) -> None:
    for statement in (
        "CREATE TABLE odd (LIKE refold.events)",
        "ALTER TABLE odd ALTER stream_id TYPE text COLLATE pg_c_utf8",
        "INSERT INTO odd VALUES (1, 'É-2026-01-31', 1, 'T', '{}', '{}', now())",
    ):
        await connection.execute(text(statement))
    odd = Table("odd", MetaData(), *[Column(c.name, c.type) for c in events.c])
    column, other = Column("c", Text), KeyPath("data.k", Column("c", Text))
    parts: list[KeyPart] = [
        lower("stream_id").part(column),
        split("stream_id", "-", 0).part(column),
        month("stream_id").part(Column("c", Date)),
        KeyByType(KeyPath("stream_id", column), {"U": other}),
        KeyByType(other, {"T": split("stream_id", "-", 1).part(column)}),
    ]
    keys = [part.sql(odd).label(f"k{n}") for n, part in enumerate(parts)]
    found = (await connection.execute(select(*keys).order_by(*keys))).one()
    assert tuple(found) == ("é-2026-01-31", "É", None, "É-2026-01-31", "2026")
