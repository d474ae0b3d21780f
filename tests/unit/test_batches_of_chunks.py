"""Batches end with their chunks, so that one chunk is one piece of work for a thread."""

from __future__ import annotations

from refold.engine.folding.key_order import Batch, KeyOrderFold
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
