"""What is larger than memory: how its events are made, and what its rows must be, in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from bench.large.read_models import WIDTH
from bench.rebuild import LIMIT

_INSERT = "INSERT INTO refold.events (stream_id, version, type, data) "
_N = "(data ->> 'n')::bigint"
_TALLY = (
    f"SELECT stream_id, count(*)::int, sum({_N})::bigint, max(position) "
    "FROM refold.events WHERE type = 'Counted' GROUP BY stream_id"
)
_WIDE = ", ".join(
    f"coalesce(sum({_N}) FILTER (WHERE {_N} % {WIDTH} = {n}), 0)::bigint" for n in range(WIDTH)
)


@dataclass(frozen=True)
class Case:
    """Something that is larger than memory.

    Attributes:
        what: It in words.
        projection: The read model.
        events: How many events it has in full.
        seed: Makes them, given how many; None for those of `bench.rebuild`.
        rows: Selects what the rows must be.
        more: Makes a tenth as many again, which are followed; None for none.
        in_place: Whether all keys are refolded in place, too.
    """

    what: str
    projection: str
    events: int
    seed: str | None
    rows: str
    more: str | None = None
    in_place: bool = False


def _sparse(first: str) -> str:
    # A position is 500 above the one before: 200,000 events reach as far as 2,000 partitions of
    # 50,000 positions each.
    return (
        "INSERT INTO refold.events (position, stream_id, version, type, data) "
        f"OVERRIDING SYSTEM VALUE SELECT ({first} + i) * 500, 'key-' || i % 1000, {first} + i, "
        "'Counted', jsonb_build_object('n', i) FROM generate_series(1, :events) AS i"
    )


CASES = {
    "keys": Case(
        "two million keys of five events",
        "order-summary",
        10_000_000,
        None,
        LIMIT.partition("INSERT INTO bench_limit\n")[2],
    ),
    "one": Case(
        "one key with a million events",
        "one",
        1_000_000,
        f"{_INSERT} SELECT 'one', i, 'Counted', jsonb_build_object('n', i % 1000) "
        "FROM generate_series(1, :events) AS i",
        _TALLY,
    ),
    "wide": Case(
        "rows of 100 columns",
        "wide",
        500_000,
        f"{_INSERT} SELECT 'wide-' || i % (:events / 5), i, 'Counted', "
        "jsonb_build_object('n', i) FROM generate_series(1, :events) AS i",
        f"SELECT stream_id, {_WIDE} FROM refold.events WHERE type = 'Counted' GROUP BY stream_id",
    ),
    "collected": Case(
        "rows of 1 MB, of ten events of 100 kB",
        "collected",
        5_000,
        f"{_INSERT} SELECT 'body-' || i % (:events / 10), i, 'Part', jsonb_build_object('part', "
        "(SELECT string_agg(md5(i || '-' || j), '') FROM generate_series(1, 3200) AS j)) "
        "FROM generate_series(1, :events) AS i",
        "SELECT stream_id, string_agg(data ->> 'part', '' ORDER BY position) "
        "FROM refold.events WHERE type = 'Part' GROUP BY stream_id",
        in_place=True,
    ),
    "grown": Case(
        "rows of 1 MB, of events that have nothing in them",
        "grown",
        4_000,
        f"{_INSERT} SELECT 'body-' || i % (:events / 2), i, 'Counted', "
        "jsonb_build_object('n', i) FROM generate_series(1, :events) AS i",
        "SELECT stream_id, repeat(lpad((array_agg(data ->> 'n' ORDER BY position DESC))[1], 8, "
        "'0'), 131072) FROM refold.events WHERE type = 'Counted' GROUP BY stream_id",
        in_place=True,
    ),
    "sparse": Case(
        "positions that are sparse: 2,000 partitions of 50,000 positions",
        "sparse",
        200_000,
        _sparse("0"),
        _TALLY,
        more=_sparse("200_000"),
    ),
}
