"""Folding many events of a key at once: the rows are those of one event after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import Event, Projection, Row, TypedEvent, upcast
from refold.engine.folding.applying import Applying, Keyed
from refold.engine.folding.key_order import Batch, Carry, KeyOrderFold
from refold.engine.folding.keys_at_once import refolding
from refold.engine.folding.keys_at_once.following import KeysAtOnceApplying
from refold.engine.folding.keys_at_once.refolding import (
    KeysAtOnceFold,
    TakesNotAtOnce,
    key_order_fold,
)
from refold.errors import InvalidProjection, PoisonEvent
from refold.projection.narrowed.sent_event import ReadsMore, Sent
from refold.projection.reading.upcasting import UPCASTERS
from refold.requests.poison_policy import OnPoison, Poison
from refold.runtime.threads import Hand
from refold.testing import assert_same_in_batches
from refold.testing import given as given_events
from tests.support.at_once import at_once
from tests.support.counters import counters
from tests.support.selects import summed

AT = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ["Added", "Added", "Added", "Removed", "Broken"]
ADDED = st.tuples(st.sampled_from(KINDS), st.integers(-20, 20))
KEYS = st.lists(st.lists(ADDED, min_size=1, max_size=12), max_size=6)
SIZES = st.integers(1, 9)


def records_of(keys: Sequence[Sequence[tuple[str, int]]]) -> list[list[Any]]:
    """Records in key order: the n-th list is the n-th key's events."""
    return [
        [100 * (m + 1) + n, "s", m + 1, kind, {"key": f"k{n}", "n": number}, {}, str(AT), f"k{n}"]
        for n, values in enumerate(keys)
        for m, (kind, number) in enumerate(values)
    ]


def chunks(records: list[list[Any]], size: int) -> Iterator[list[list[Any]]]:
    for start in range(0, len(records), size):
        # Decoded anew for each attempt.
        yield [[*record] for record in records[start : start + size]]


def left_after(records: list[list[Any]], batches: list[Batch]) -> list[list[Any]]:
    """What `refold.source.reader.in_key_order` gives to the next attempt."""
    done = max((b.last_key for b in batches if b.last_key is not None), default="")
    carry = batches[-1].carry if batches else None
    return [
        record
        for record in records
        if record[7] > done
        and (carry is None or record[7] != carry.key or record[0] > carry.position)
    ]


def refolded(
    projection: Projection, records: list[list[Any]], batch_size: int, chunk: int, lives: int
) -> list[Batch]:
    """The batches that are committed, as an activity commits them.

    Each attempt dies after so many batches; one that finds that the function takes events not at
    once is followed by one that folds them one by one.
    """
    batches: list[Batch] = []
    one_by_one = False
    while True:
        carry: Carry | None = batches[-1].carry if batches else None
        kind = key_order_fold(projection, one_by_one=one_by_one)
        fold = kind(projection, batch_size, carry, sets_aside=True)
        one_by_one = False
        left = left_after(records, batches)
        done = 0
        try:
            for part in chunks(left, chunk):
                for batch in fold.feed(part):
                    batches.append(batch)
                    done += 1
                    if done == lives:
                        break
                if done == lives:
                    break
            else:
                return [*batches, fold.finish()]
        except TakesNotAtOnce:
            one_by_one = True


@given(KEYS, SIZES, SIZES, SIZES)
def test_rows_and_letters_are_those_of_single_events(
    keys: list[list[tuple[str, int]]], batch_size: int, chunk: int, lives: int
) -> None:
    records = records_of(keys)
    single = KeyOrderFold(counters(), 100, sets_aside=True)
    assert list(single.feed([*map(list, records)])) == []
    right = single.finish()
    found = refolded(at_once(), records, batch_size, chunk, lives)
    assert [row for batch in found for row in batch.rows] == right.rows
    assert [key for batch in found for key in batch.gone] == right.gone
    letters = [(one.key, one.position, one.error) for batch in found for one in batch.letters]
    expected = [(one.key, one.position, one.error) for one in right.letters]
    assert [(k, p, e.partition(" (at")[0]) for k, p, e in letters] == [
        (k, p, e.partition(" (at")[0]) for k, p, e in expected
    ]
    assert sum(batch.events for batch in found) == len(records)


def counted(calls: list[int]) -> Projection:
    """Sums by key; the lengths of all calls are noted."""
    made = Projection("sums", table=counters().table, key="data.key")

    @made.fold_key("Added")
    def fold(row: Row | None, events: Sequence[Event]) -> Row:
        calls.append(len(events))
        before = row or {"count": 0, "sum": 0, "last": None}
        return {**before, "count": before["count"] + len(events), "last": events[-1].data["n"]}

    return made


def test_a_key_is_called_with_once_and_where_a_chunk_ends() -> None:
    calls: list[int] = []
    fold = KeysAtOnceFold(counted(calls), 1000)
    records = records_of([[("Added", 1)] * 5, [("Added", 2)] * 7, [("Added", 3)] * 2])
    for part in chunks(records, 10):
        assert list(fold.feed(part)) == []
    assert [row["count"] for row in fold.finish().rows] == [5, 7, 2]
    assert calls == [5, 5, 2, 2]


def test_large_keys_come_in_parts_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(refolding, "_MANY", 128)
    fold = KeysAtOnceFold(counted(calls), 10_000)
    assert list(fold.feed(records_of([[("Added", 1)] * 500]))) == []
    assert fold.finish().rows[0]["count"] == 500
    assert calls == [32, 64, 128, 128, 128, 20]


def test_large_events_are_not_kept_until_their_key_ends() -> None:
    calls: list[int] = []
    fold = KeysAtOnceFold(counted(calls), 10_000)

    def decoded() -> Iterator[list[Any]]:
        for record in records_of([[("Added", 1)] * 6]):
            fold.hand.size += 200_000
            yield record

    assert list(fold.feed(decoded())) == []
    assert fold.finish().rows[0]["count"] == 6
    assert calls == [2, 2, 2]


def test_what_is_slow_comes_in_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    clock = iter(range(1000))
    monkeypatch.setattr(refolding, "perf_counter", lambda: next(clock))
    fold = KeysAtOnceFold(counted(calls), 10_000)
    list(fold.feed(records_of([[("Added", 1)] * 60])))
    assert calls == [32, 16, 8, 4]


def test_what_it_raises_is_told_with_its_positions() -> None:
    fold = KeysAtOnceFold(at_once(), 10)
    records = records_of([[("Added", 1), ("Broken", 2), ("Added", 3)]])
    with pytest.raises(TakesNotAtOnce, match=r"fold_key\(\) raised ValueError: this") as told:
        list(fold.feed(records))
    assert "3 event(s) of one key, from position 100 to 300" in str(told.value)


def test_fields_that_were_not_sent_are_asked_for_again() -> None:
    sent = Sent(frozenset({"data"}), key_at=None)
    projection = Projection("sums", table=counters().table, key="data.key")
    projection.fold_key("Added")(lambda row, events: {"count": events[0].version, "sum": 0})
    fold = KeysAtOnceFold(projection, 10, sent=sent)
    (record,) = records_of([[("Added", 1)]])
    part = [[record[0], record[1], record[3], record[4], record[7]]]
    with pytest.raises(ReadsMore, match="version"):
        list(fold.feed(part))


# -- following -----------------------------------------------------------------------------------

LOG = st.lists(st.tuples(st.sampled_from("abc"), *[st.sampled_from(KINDS), st.integers(0, 9)]))


def applied(kind: type[Applying], projection: Projection, log: Any, poison: Poison) -> Any:
    texts = []
    for position, (key, event_type, n) in enumerate(log, start=1):
        data = f'{{"key":"{key}","n":{n}}}'
        texts.append(f'[{position},"s",1,"{event_type}",{data},{{}},"2026-01-01T00:00:00Z"]')
    applying = kind(projection, poison, None)  # type: ignore[arg-type]
    hand = Hand("counters")
    keyed = applying.keyed(texts, hand) if texts else Keyed()
    current: dict[Any, Row | None] = dict.fromkeys(["a", "b", "c"])
    held = {"c"} if len(log) % 5 == 0 else set()
    done = applying.applied(keyed, current, held, hand)
    letters = sorted((one.key, one.position) for one in done.letters if one.key)
    return current, held, done.events, done.keys, letters


@given(LOG)
def test_following_applies_as_one_event_after_another(log: list[tuple[str, str, int]]) -> None:
    poison = Poison(on_poison=OnPoison.SET_ASIDE)
    right = applied(Applying, counters(), log, poison)
    assert applied(KeysAtOnceApplying, at_once(), log, poison) == right


def test_the_first_poison_event_ends_a_batch() -> None:
    log = [("a", "Added", 1), ("b", "Added", 1), ("a", "Added", 1), ("b", "Broken", 1)]
    log += [("a", "Broken", 1), ("c", "Broken", 1)]
    with pytest.raises(PoisonEvent, match="event 4 "):
        applied(KeysAtOnceApplying, at_once(), log, Poison())


def test_a_function_that_changes_its_events_is_given_others() -> None:
    made = Projection("sums", table=counters().table, key="data.key")

    @made.fold_key("Added", "Broken")
    def fold(row: Row | None, events: Sequence[Event]) -> Row:
        count = 0 if row is None else row["count"]
        for event in events:
            count += event.data.pop("n")
        if events[-1].type == "Broken":
            raise ValueError
        return {"count": count, "sum": 0}

    log = [("a", "Added", 7)] * 6 + [("a", "Broken", 1)]
    found = applied(KeysAtOnceApplying, made, log, Poison(on_poison=OnPoison.SET_ASIDE))
    assert found[0]["a"] is not None
    assert (found[0]["a"]["count"], found[4]) == (42, [(["a"], 7)])


# -- declarations --------------------------------------------------------------------------------


def simple() -> Projection:
    table = Table("simple", MetaData(), Column("k", Text, primary_key=True), Column("n", Integer))
    return Projection("simple", table=table, key="stream_id")


def total(row: Row | None, events: Sequence[Event]) -> Row:
    return {"n": (row or {"n": 0})["n"] + sum(event.data["n"] for event in events)}


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda p: p.fold_key(), "at least one event type"),
        (lambda p: p.fold_key("A", "A"), "'A' has a handler already"),
        (lambda p: p.on("A")(total) and p.fold_key("B"), "got 'total' beside others"),
        (lambda p: p.fold_key("A")(total) and p.fold_key("B"), "got 'total' beside others"),
        (lambda p: p.fold_key("A")(total) and p.on("B"), "got 'total' beside others"),
    ],
)
def test_what_cannot_work_is_refused(declare: Callable[[Projection], Any], said: str) -> None:
    with pytest.raises(InvalidProjection, match=said):
        declare(simple())(total)


def test_neither_an_async_function_nor_a_select_takes_keys() -> None:
    async def later(row: Row | None, events: Sequence[Event]) -> Row | None:
        return row

    with pytest.raises(InvalidProjection, match=r"fold_key\(\) 'later': expected a plain function"):
        simple().fold_key("A")(later)  # type: ignore[arg-type]
    with pytest.raises(InvalidProjection, match=r"fold_key\(\)"):
        summed().fold_key("A")


class Seen(BaseModel):
    n: int


def test_classes_and_upcasters_are_as_for_handlers() -> None:
    with UPCASTERS.set_apart():
        made = simple()

        @made.fold_key(Seen, "Old")  # type: ignore[call-overload, untyped-decorator]
        def fold(row: Row | None, events: Sequence[Any]) -> Row:
            count = 0 if row is None else row["n"]
            for event in events:
                assert isinstance(event, TypedEvent) == (event.type == "Seen")
                count += event.data.n if event.type == "Seen" else event.data["m"]
            return {"n": count}

        assert made.key_fold is not None
        assert not made.key_fold.takes_stored_events

        @upcast("Old", from_version=1)
        def newer(event: Event) -> dict[str, Any]:
            return {"m": 10 * event.data["n"]}

        log = [("s", "Seen", {"n": 1}), ("s", "Old", {"n": 2}), ("s", "Seen", {"n": 3})]
        assert given_events(made, *log)["s"]["n"] == 24
        assert_same_in_batches(made, log, tries=10)
        fold_at_once = KeysAtOnceFold(made, 10)
        records = [[p, *one[:1], 1, *one[1:], {}, str(AT), "s"] for p, one in enumerate(log, 1)]
        assert list(fold_at_once.feed(records)) == []
        assert fold_at_once.finish().rows == [{"k": "s", "n": 24}]
        with pytest.raises(PoisonEvent, match=r"data\.n"):
            given_events(made, ("s", "Seen", {"n": "x"}))


def test_a_function_that_depends_on_the_parts_is_found() -> None:
    made = simple()
    made.fold_key("A")(lambda row, events: {"n": len(events)})
    with pytest.raises(AssertionError, match="when folded key by key"):
        assert_same_in_batches(made, [("s", "A", {}), ("s", "A", {})])
    good = simple()
    good.fold_key("A")(total)
    assert_same_in_batches(good, [(f"s{n % 3}", "A", {"n": n}) for n in range(12)])
