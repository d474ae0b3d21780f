"""Folding in key order with poison events set aside, however the batches are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import Event, Projection, Row
from refold.engine.folding.key_order import Batch, Carry, KeyOrderFold
from refold.errors import PoisonEvent
from refold.projection.dead_letters import HeldKeys, Letter, letter_key
from tests.support.letters import fold_setting_aside

AT = "2026-01-01T00:00:00+00:00"


def sums() -> Projection:
    """Sums by stream; 0 is poison for any key, 9 deletes."""
    projection = Projection(
        "sums",
        table=Table(
            "sums",
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("seen", Integer, nullable=False),
        ),
        key="stream_id",
    )

    @projection.on("Seen")
    def seen(row: Row | None, event: Event) -> Row | None:
        n = event.data["n"]
        if n == 0:
            raise ValueError("nothing to see")
        return None if n == 9 else {"seen": (row or {"seen": 0})["seen"] + n}

    return projection


PROJECTION = sums()


def records_of(keys: Sequence[Sequence[int]]) -> list[list[Any]]:
    """Records in key order: the n-th list is the n-th key's numbers."""
    found = []
    for number, values in enumerate(keys):
        name = f"k{number}"
        for version, n in enumerate(values, start=1):
            position = 100 * version + number
            found.append([position, name, version, "Seen", {"n": n}, {}, AT, name])
    return found


def oracle(keys: Sequence[Sequence[int]]) -> tuple[dict[str, int], dict[str, int]]:
    """Each key up to its first poison event, and where that one is."""
    rows: dict[str, int] = {}
    held = {}
    for number, values in enumerate(keys):
        good = list(values)
        if 0 in values:
            held[f"k{number}"] = 100 * (values.index(0) + 1) + number
            good = good[: values.index(0)]
        last = max((i for i, n in enumerate(good) if n == 9), default=-1)
        if good[last + 1 :]:
            rows[f"k{number}"] = sum(good[last + 1 :])
    return rows, held


def chunks(records: list[list[Any]], size: int) -> Iterator[list[list[Any]]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


def check(batches: list[Batch], keys: Sequence[Sequence[int]]) -> None:
    rows, held = oracle(keys)
    assert {row["key"]: row["seen"] for batch in batches for row in batch.rows} == rows
    letters = [letter for batch in batches for letter in batch.letters]
    assert {letter.key[0]: letter.position for letter in letters if letter.key} == held
    assert len(letters) == len(held)
    assert sum(batch.events for batch in batches) == sum(map(len, keys))
    for batch in batches:
        # A letter is written with its key's row: not before the key is finished.
        names = [letter.key[0] for letter in batch.letters if letter.key]
        assert batch.last_key is not None or not names
        assert all(name <= batch.last_key for name in names)


NUMBERS = st.lists(st.sampled_from([1, 2, 3, 0, 9]), min_size=1, max_size=12)


@given(st.lists(NUMBERS, max_size=6), st.integers(1, 8), st.integers(1, 9))
def test_each_key_is_folded_up_to_its_poison(
    keys: list[list[int]], batch_size: int, chunk: int
) -> None:
    fold = KeyOrderFold(PROJECTION, batch_size, sets_aside=True)
    batches = [b for records in chunks(records_of(keys), chunk) for b in fold.feed(records)]
    check([*batches, fold.finish()], keys)


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.integers(1, 8), st.integers(1, 9))
def test_a_crash_after_any_batch_changes_nothing(
    keys: list[list[int]], batch_size: int, chunk: int
) -> None:
    # Each attempt dies after the first batch that it commits.
    records = records_of(keys)
    batches: list[Batch] = []
    carry: Carry | None = None
    while True:
        fold = KeyOrderFold(PROJECTION, batch_size, carry, sets_aside=True)
        left = _left(records, batches, carry)
        first = next((b for part in chunks(left, chunk) for b in fold.feed(part)), None)
        batches.append(first or fold.finish())
        carry = batches[-1].carry
        if first is None:
            break
    check(batches, keys)


def _left(records: list[list[Any]], batches: list[Batch], carry: Carry | None) -> list[list[Any]]:
    """What `refold.source.reader.in_key_order` gives to the next attempt."""
    done = max((b.last_key for b in batches if b.last_key is not None), default="")
    return [
        record
        for record in records
        if record[7] > done
        and (carry is None or record[7] != carry.key or record[0] > carry.position)
    ]


def test_without_the_policy_the_first_one_ends_it() -> None:
    fold = KeyOrderFold(PROJECTION, 3)
    with pytest.raises(PoisonEvent, match=r"event 201 .*nothing to see"):
        list(fold.feed(records_of([[1], [1, 0, 1], [0]])))


def test_a_letter_says_what_and_where() -> None:
    fold = KeyOrderFold(PROJECTION, 3, sets_aside=True)
    list(fold.feed(records_of([[1, 0]])))
    (letter,) = fold.finish().letters
    assert (letter.position, letter.type, letter.stream_id) == (200, "Seen", "k0")
    assert letter.error.startswith("ValueError: nothing to see (at unit/test_fold_poison.py:")
    assert letter.trace is not None
    assert 'raise ValueError("nothing to see")' in letter.trace
    assert "in _fed" not in letter.trace


@given(st.lists(NUMBERS, max_size=6))
def test_the_fold_in_position_order_agrees(keys: list[list[int]]) -> None:
    by_position = sorted(records_of(keys))
    at = datetime.fromisoformat(AT)
    read = [Event(p, s, v, kind, data, {}, at) for p, s, v, kind, data, *_ in by_position]
    found = fold_setting_aside(PROJECTION, read)
    assert {key: row["seen"] for key, row in found.items()} == oracle(keys)[0]


def test_errors_of_any_text_can_be_stored() -> None:
    poison = PoisonEvent("sums", 1, "Seen", "k0", "a\0b\ud800" + 10_000 * "x")
    letter = Letter.of(poison)
    assert letter.error.startswith("a\ufffdb?xxx")
    assert 900 < len(letter.error) <= 1000
    letter.error.encode()
    refused = letter.refused("sums", 3, 3)
    assert "3 dead letters are set aside already, max_dead_letters is 3" in str(refused)


def test_equal_keys_are_held_alike() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    held = HeldKeys([letter_key(key) for key in ("a", ("b", 1), Decimal("1.50"), noon)])
    for key in ("a", ("b", 1), Decimal("1.5"), noon.astimezone(timezone(timedelta(hours=2)))):
        assert key in held
    for key in ("b", ("b", 2), Decimal(15)):
        assert key not in held
    assert "a" not in HeldKeys()
    assert len({str(letter_key(Decimal(n))) for n in ("10", "1E+1", "10.0")}) == 1
