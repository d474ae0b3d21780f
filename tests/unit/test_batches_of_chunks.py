"""Batches end with their chunks, so that one chunk is one piece of work for a thread."""

from __future__ import annotations

import pytest
from sqlalchemy import ARRAY, Column, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from refold import Projection
from refold.engine.folding.key_order import Batch, KeyOrderFold
from refold.engine.folding.keys_at_once.refolding import KeysAtOnceFold
from refold.projection.columns.sizes import sizing
from tests.unit.test_fold_poison import PROJECTION, chunks, records_of

# 3 events a key: of ten events, the tenth begins a key that the next chunk goes on with.
KEYS = [[1, 2, 3]] * 20
SIZE = 10


def test_a_chunk_of_a_batch_s_size_is_one_batch() -> None:
    fold = KeyOrderFold(PROJECTION, SIZE)
    batches: list[Batch] = []
    for chunk in chunks(records_of(KEYS), SIZE):
        of_chunk = fold.feed(chunk)
        assert not fold.is_fed
        batches.append(next(of_chunk))
        assert fold.is_fed
        assert list(of_chunk) == []
    # Each carries the key in hand: nothing of it is folded again if the next chunk is read anew.
    assert [batch.events for batch in batches] == [SIZE] * 6
    assert [len(batch.rows) for batch in batches] == [3, 3, 3, 4, 3, 3]
    carries = [batch.carry for batch in batches if batch.carry is not None]
    assert [(carry.key, carry.row and carry.row["seen"]) for carry in carries] == [
        ("k3", 1),
        ("k6", 3),
        ("k9", 6),
        ("k13", 1),
        ("k16", 3),
        ("k19", 6),
    ]
    last = fold.finish()
    assert (last.events, len(last.rows), last.carry) == (0, 1, None)


def test_what_is_left_of_a_chunk_is_told() -> None:
    fold = KeyOrderFold(PROJECTION, SIZE)
    of_chunk = fold.feed(records_of(KEYS))
    fed = []
    for _ in of_chunk:
        fed.append(fold.is_fed)
    assert fed == [False] * 4 + [True]


def test_a_chunk_that_completes_no_batch_is_fed_without_one() -> None:
    fold = KeyOrderFold(PROJECTION, SIZE)
    assert list(fold.feed(records_of(KEYS[:2]))) == []
    assert fold.is_fed
    assert fold.finish().events == 6


@pytest.mark.parametrize("kind", [KeyOrderFold, KeysAtOnceFold])
def test_a_batch_has_few_large_rows(kind: type[KeyOrderFold]) -> None:
    made = Projection("bodies", table=_BODIES, key="stream_id")
    if kind is KeysAtOnceFold:
        made.fold_key("Seen")(lambda row, events: {"body": "x" * 3_000_000})
    else:
        made.on("Seen")(lambda row, event: {"body": "x" * 3_000_000})
    fold = kind(made, 1000)
    batches = [*fold.feed(records_of([[1]] * 10)), fold.finish()]
    assert [len(batch.rows) for batch in batches] == [3, 3, 3, 1]


_BODIES = Table(
    "bodies",
    MetaData(),
    Column("key", Text, primary_key=True),
    Column("body", Text),
    Column("data", JSONB),
    Column("lines", ARRAY(Text)),
    Column("raw", LargeBinary),
    Column("short", String(20)),
    Column("n", Integer),
)


def test_only_what_may_be_large_is_measured() -> None:
    size = sizing(_BODIES.columns)
    assert size is not None
    row = {"key": "k", "body": None, "data": {"a": ["xx", 1]}, "lines": ["yy"], "raw": b"zzz"}
    assert size({**row, "short": "s" * 20, "n": 7}) == 1 + (1 + 2 + 8) + 2 + 3
    assert size({**row, "body": 1.5}) == 8 + 1 + (1 + 2 + 8) + 2 + 3  # a number for a text
    assert sizing(table.c.n for table in [_BODIES]) is None
