"""What is refused of a projection said in SQL, and what is found out about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Float,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    cast,
    func,
    literal_column,
    select,
    text,
)

from refold import Defaults, InvalidProjection, SqlProjection
from refold.projection.backfill_policy import BackfillPolicy
from refold.projection.registry import Registry
from refold.projection.sql.declaration import batch_size_of, require_handlers

OTHERS = Table("others", MetaData(), Column("id", Text), Column("name", Text), schema="app")


def totals(kind: Any = Numeric) -> Table:
    return Table("totals", MetaData(), Column("id", Text, primary_key=True), Column("total", kind))


def n_of(events: Any) -> Any:
    return cast(events.c.data["n"].astext, Numeric)


def plain(events: Any) -> Any:
    return select(events.c.stream_id, func.sum(n_of(events))).group_by(events.c.stream_id)


def made(select: Callable[[Any], Any], **settings: Any) -> SqlProjection:
    return SqlProjection("totals", **{"table": totals(), "select": select, **settings})


def pairs(key: Any, total: Any) -> Any:
    return select(key, total).group_by(key)


def windowed(events: Any, *, by: bool) -> Any:
    place = func.row_number().over(
        partition_by=events.c.key if by else None, order_by=events.c.position
    )
    inner = select(events.c.key, n_of(events).label("n"), place.label("place")).subquery()
    return select(inner.c.key, inner.c.n).where(inner.c.place == 1)


@pytest.mark.parametrize(
    ("said", "settings", "reason"),
    [
        (lambda e: "SELECT 1", {}, r"returns sqlalchemy.select"),
        (lambda e: select(e.c.nothing), {}, "its function raised"),
        (lambda e: select(OTHERS.c.id, OTHERS.c.name), {"key": "stream_id"}, "'app.others'"),
        (
            lambda e: pairs(e.c.stream_id, func.max(OTHERS.c.name)).where(
                OTHERS.c.id == e.c.stream_id
            ),
            {},
            "lookups",
        ),
        (
            lambda e: pairs(e.c.stream_id, func.max(text("(SELECT name FROM app.others)"))),
            {},
            "text that selects",
        ),
        (
            lambda e: pairs(e.c.stream_id, func.max(func.now() - e.c.recorded_at)),
            {},
            "'now' says another thing each time",
        ),
        (
            lambda e: pairs(e.c.stream_id, func.max(literal_column("CURRENT_DATE"))),
            {},
            "'CURRENT_DATE' says another thing",
        ),
        (lambda e: plain(e).limit(5), {}, "LIMIT"),
        (lambda e: select(e.c.stream_id), {}, r"expected 2 columns .*\(id, total\), got 1"),
        (
            lambda e: select(n_of(e).label("x"), e.c.stream_id.label("id")),
            {"key": "stream_id"},
            "column 2 is 'id', and column 2 of table 'totals' is 'total'",
        ),
        (lambda e: pairs(e.c.type, func.count()), {}, "expected the key for column 'id'"),
        (
            lambda e: select(func.min(e.c.stream_id), func.count()).group_by(e.c.stream_id),
            {"key": "stream_id"},
            "expected stream_id",
        ),
        (lambda e: plain(e).group_by(e.c.type), {}, "GROUP BY the key alone"),
        (
            lambda e: select(e.c.stream_id, func.count()).group_by(e.c.type),
            {},
            "GROUP BY the key",
        ),
        (lambda e: windowed(e, by=False), {"key": "stream_id"}, "PARTITION BY the key"),
        (plain, {"key": lambda event: "a"}, "paths, got a function"),
        (plain, {"types": []}, "types: expected event types"),
        (plain, {"merge": {}}, r"one entry for each column beside the key \(total\), got none"),
        (plain, {"merge": {"total": "add"}}, "sum, min, max, first, last"),
        (plain, {"merge": {"total": "sum"}, "table": totals(Float)}, "sum of floats"),
        (
            lambda e: windowed(e, by=True),
            {"key": "stream_id", "merge": {"total": "first"}},
            "a window function, a subquery, no GROUP BY",
        ),
        (
            lambda e: plain(e).having(func.count() > 1),
            {"merge": {"total": "sum"}},
            "HAVING",
        ),
    ],
)
def test_refused_with_the_reason(
    said: Callable[[Any], Any], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidProjection, match=reason) as refused:
        made(said, **settings)
    assert str(refused.value).startswith("totals: ")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (plain, "stream_id"),
        (lambda e: pairs(e.c.data["sku"].astext, func.count()), "data.sku"),
        (lambda e: pairs(e.c.metadata["a"]["b"].astext, func.count()), "metadata.a.b"),
        (lambda e: pairs(e.c.data[("a", "0")].astext, func.count()), "data.a.0"),
        (lambda e: pairs(e.alias("other").c.stream_id, func.count()), "stream_id"),
    ],
)
def test_the_key_is_found_in_the_select(said: Callable[[Any], Any], path: str) -> None:
    projection = made(said)
    assert projection.key_paths is not None
    assert [one.path for one in projection.key_paths] == [path]


def test_a_key_of_several_parts() -> None:
    table = Table(
        "totals",
        MetaData(),
        Column("shop", Text, primary_key=True),
        Column("n", Integer, primary_key=True),
        Column("total", Integer),
    )
    projection = made(
        lambda e: select(
            func.count().label("total"), e.c.key_2.label("n"), e.c.key_1.label("shop")
        ).group_by(e.c.key_1, e.c.key_2),
        table=table,
        key=("metadata.shop", "data.n"),
    )
    assert projection.key_columns == ("shop", "n")


@pytest.mark.parametrize(
    ("said", "types"),
    [
        (plain, None),
        (lambda e: plain(e).where(e.c.type == "A"), ["A"]),
        (lambda e: plain(e).where(e.c.type.in_(["B", "A"])), ["A", "B"]),
        (lambda e: plain(e).where(e.c.type != "A"), None),
        (
            lambda e: (
                plain(e)
                .select_from(e.join(e.alias("o"), e.c.stream_id == e.c.stream_id))
                .where(e.c.type == "A")
            ),
            None,
        ),
    ],
)
def test_types_are_those_that_the_select_names(
    said: Callable[[Any], Any], types: list[str] | None
) -> None:
    assert made(said).event_types == types
    assert made(said, types=["C"]).event_types == ["C"]


def test_it_is_registered_without_handlers_and_has_none() -> None:
    projection = made(plain, lookups=[OTHERS])
    assert list(Registry([projection])) == [projection]
    assert projection.lookups == ("app.others",)
    explain = partial(require_handlers, projection, "explain")
    for refused in (lambda: projection.on("A"), lambda: projection.fold([]), explain):
        with pytest.raises(InvalidProjection, match="the projection is said in SQL"):
            refused()


def test_its_batches_are_large_unless_somebody_says_otherwise() -> None:
    assert batch_size_of(made(plain)) == 5_000_000
    assert batch_size_of(made(plain, backfill=BackfillPolicy(batch_size=7))) == 7
    projection = made(plain)
    Registry([projection], defaults=Defaults(backfill=BackfillPolicy(batch_size=9)))
    assert batch_size_of(projection) == 9
