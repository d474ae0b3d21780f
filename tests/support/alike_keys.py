"""Keys of the events of a real log, in Python and in SQL, which must be alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import count, cycle
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.event import Event
from refold.projection.key import KeyDoesNotFit
from refold.projection.keys.part import KeyPart
from refold.runtime.database import compiled, raw
from refold.source.reader import read_window
from refold.store.schema import events

MISFIT = "a misfit"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

EXAMPLES: list[Any] = [
    *["", " ", "a", "abc", "abcd", "äöü", "😀😀😀", "😀😀😀😀", "e\u0301e", "a\nb", "1\n", "\n1"],
    *["0", "-0", "+1", "007", " 1", "1 ", "1.0", "1e2", "-", "--1", "٣", "\uff11", "1_0", "0x1"],
    *["32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "-2147483648"],
    *["9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"],
    *["0" * 19, "0" * 20, "9" * 40],
    *[0, -1, 32767, 32768, -32769, 2**31, -(2**31), 2**63, -(2**63), -(2**63) - 1, 2**64 - 1],
    *[2**64, 10**30, -(10**30), 0.0, -0.0, 1.0, 1.5, 1e2, 1e16, 1e19, 1e20, 1e300, 1e-7, -5e-324],
    *[True, False, None, [], {}, [1], {"x": 1}, [None, {"x": "a"}], {"x": [0, "b"]}, {"0": 1}],
    *["0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E"],
    *["0f8fad5bd9cb469fa16570867728950e", "{0f8fad5b-d9cb-469f-a165-70867728950e}"],
    *["0f8fad5b-d9cb-469f-a165-70867728950e\n", "0f8fad5b-d9cb-469f-a165-70867728950g"],
    *["0f8fad5b-d9cb-469f-a165-7086772895", "true", "null"],
]

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6)
numerals = st.from_regex(r"\A[ +-]?[0-9]{1,21}[ .]?\Z")
whole = st.one_of(st.integers(-(2**70), 2**70), st.integers(-40_000, 40_000))
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(
    st.sampled_from(EXAMPLES),
    texts,
    numerals,
    st.uuids().map(str),
    whole,
    floats,
    st.booleans(),
    st.none(),
)
fields = st.sampled_from(["x", "0", "-1", "1", "k", "a,b", "+1"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(fields, inner, max_size=3)
    ),
    max_leaves=5,
)
bodies = st.one_of(
    st.builds(lambda value, other: {"k": value, "é\"'%": other}, values, scalars), st.just({})
)

alike = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Body = tuple[str, dict[str, Any], dict[str, Any]]


async def logged(
    connection: AsyncConnection,
    bodies: Sequence[Body],
    *,
    types: Sequence[str] = ("T",),
    times: Sequence[datetime] = (NOON,),
) -> list[Event]:
    """These bodies as the only events of the log, as they are read from it.

    Types and times are taken in turn.
    """
    await connection.execute(text("TRUNCATE refold.events RESTART IDENTITY"))
    rows = [
        (stream, number + 1, kind, json.dumps(data), json.dumps(meta), at)
        for number, (stream, data, meta), kind, at in zip(
            count(), bodies, cycle(types), cycle(times), strict=False
        )
    ]
    await (await raw(connection)).executemany(
        "INSERT INTO refold.events (stream_id, version, type, data, metadata, recorded_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        rows,
    )
    return await read_window(connection, types=types, after=0, upto=10**6, limit=10**6)


def in_python(part: KeyPart, event: Event) -> Any:
    """The key part of an event; `MISFIT` if it does not fit."""
    try:
        return part.of(event)
    except KeyDoesNotFit:
        return MISFIT


def plain(value: Any) -> Any:
    """The driver has a UUID of its own, which equals Python's."""
    return UUID(int=value.int) if isinstance(value, UUID) else value


class Alike:
    """Keys, compared in SQL and in Python.

    Args:
        parts: Which.
    """

    def __init__(self, parts: Sequence[KeyPart]) -> None:
        self._parts = parts

    @cached_property
    def _compiled(self) -> tuple[str, list[Any]]:
        """The statement, compiled once, as it runs for each example."""
        return compiled(
            select(
                *[part.sql(events).label(f"key{n}") for n, part in enumerate(self._parts)],
                *[part.misfits(events).label(f"misfit{n}") for n, part in enumerate(self._parts)],
            ).order_by(events.c.position)
        )

    async def check(self, connection: AsyncConnection, bodies: Sequence[Body], **more: Any) -> None:
        """Compares them for events with these bodies, and what else `logged` takes."""
        made = await logged(connection, bodies, **more)
        sql, arguments = self._compiled
        records = await (await raw(connection)).fetch(sql, *arguments)
        for event, record in zip(made, records, strict=True):
            for number, part in enumerate(self._parts):
                value = MISFIT if record[f"misfit{number}"] else plain(record[f"key{number}"])
                expected = in_python(part, event)
                where = (part.path, part.column.type, event)
                assert (value, type(value)) == (expected, type(expected)), where
