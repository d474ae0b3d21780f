"""People's code in threads: the event loop stays free, and a call has an end."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from refold.errors import HandlerOverdue, NoThreadLeft
from refold.event import Event
from refold.runtime import threads
from refold.runtime.threads import LASTING, Hand, in_thread

LIMIT = 0.3


def event(position: int) -> Event:
    return Event(position, "s-1", 1, "Added", {}, {}, datetime(2026, 1, 1, tzinfo=UTC))


release = threading.Event()


def turns_round() -> None:
    while not release.is_set():
        pass


def catches_exceptions() -> None:
    while not release.is_set():
        try:
            sum(range(100))
        except Exception:
            continue


def catches_everything() -> None:
    while not release.is_set():
        try:
            sum(range(100))
        except BaseException:
            continue


def sleeps() -> None:
    time.sleep(2)


def waits() -> None:
    release.wait(5)


@pytest.fixture(autouse=True)
def _released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE_SECONDS", 0.3)
    release.clear()


async def longest_gap(ended: asyncio.Event) -> float:
    """How long the event loop was busy at most."""
    longest, last = 0.0, time.perf_counter()
    while not ended.is_set():
        await asyncio.sleep(0.01)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


ENDLESS = [turns_round, catches_exceptions, catches_everything, sleeps, waits]


@pytest.mark.parametrize("handler", ENDLESS, ids=lambda one: one.__name__)
async def test_a_call_without_end_is_named_and_others_go_on(handler: Callable[[], None]) -> None:
    hand = Hand("orders")

    def work() -> None:
        for one in hand.each([event(1), event(2)]):
            if one.position == 2:
                handler()

    ended = asyncio.Event()
    gap = asyncio.create_task(longest_gap(ended))
    endless = asyncio.create_task(in_thread(work, hand=hand, seconds=LIMIT))
    while not endless.done():
        assert await asyncio.wait_for(in_thread(lambda: 7, hand=Hand("other")), 5) == 7
    ended.set()
    release.set()
    with pytest.raises(HandlerOverdue) as raised:
        await endless
    message = str(raised.value)
    assert "projection 'orders'" in message
    assert "event 2 (Added of stream 's-1')" in message
    stands = re.search(r"stands at .*test_threads\.py:(\d+) \(work\), in ", message)
    assert stands is not None
    source, first = inspect.getsourcelines(work)
    assert int(stands[1]) == first + len(source) - 1
    assert await gap < 2


async def test_a_call_that_ends_in_time_is_left_alone_however_many_there_are() -> None:
    hand = Hand("orders")

    def work() -> int:
        count = 0
        for _ in hand.each(map(event, range(9))):
            time.sleep(LIMIT / 4)
            count += 1
        return count

    assert await in_thread(work, hand=hand, seconds=LIMIT) == 9


async def test_a_call_that_lasts_is_told_once_until_it_returns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "LASTING_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_LOOK_SECONDS", 0.02)
    told: list[str] = []
    seen: list[list[str]] = []
    LASTING.set(told)
    hand = Hand("counters")

    def work() -> None:
        for position in (1, 2):
            hand.begin(event(position))
            time.sleep(0.3)
            seen.append([*told])
        hand.begin(event(3))
        time.sleep(0.03)

    await in_thread(work, hand=hand, seconds=10)
    assert [len(lines) for lines in seen] == [1, 1]
    for position, (line,) in enumerate(seen, start=1):
        assert f"has had event {position} (Added) in hand since " in line
        assert f"test_threads.py:{inspect.getsourcelines(work)[1] + 3} (work)" in line
    assert told == []
    assert caplog.text.count("waiting for the code of") == 2


async def test_one_event_for_many_keys_is_many_calls() -> None:
    hand, one = Hand("orders"), event(1)

    def work() -> str:
        for _ in range(9):
            hand.begin(one)
            time.sleep(LIMIT / 4)
        return "done"

    assert await in_thread(work, hand=hand, seconds=LIMIT) == "done"


@pytest.mark.parametrize("raised", [StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_what_would_end_the_loop_is_an_error_like_others(
    raised: type[BaseException],
) -> None:
    def work() -> None:
        raise raised("why")

    with pytest.raises((RuntimeError, TypeError), match=raised.__name__):
        await in_thread(work)


async def test_a_piece_is_due_in_time_over_several_threads() -> None:
    hand = Hand("orders", piece_seconds=0.2)

    def work() -> float:
        began = time.perf_counter()
        while not hand.due and time.perf_counter() - began < 0.15:
            time.sleep(0.01)
        return time.perf_counter() - began

    assert await in_thread(work, hand=hand) >= 0.15
    assert not hand.due
    assert await in_thread(work, hand=hand) < 0.15
    hand.renew()
    assert await in_thread(work, hand=hand) >= 0.15


async def test_whoever_is_cancelled_leaves_at_once_and_its_thread_ends_after_the_call() -> None:
    hand = Hand("orders")
    ended = threading.Event()

    def work() -> None:
        while not hand.due:
            time.sleep(0.01)
        ended.set()

    task = asyncio.create_task(in_thread(work, hand=hand))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await in_thread(ended.wait, 5)


async def test_no_thread_is_begun_when_too_many_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_threads", threads._Threads())
    monkeypatch.setattr(threads, "MOST_LEFT", 2)
    for _ in range(2):
        hand = Hand("orders")

        def work(hand: Hand = hand) -> None:
            hand.begin(event(1))
            release.wait(5)

        with pytest.raises(HandlerOverdue):
            await in_thread(work, hand=hand, seconds=LIMIT)
    with pytest.raises(NoThreadLeft, match="2 threads"):
        await in_thread(lambda: 7)
    release.set()
    async with asyncio.timeout(5):
        while threads._threads._left:  # noqa: ASYNC110 - it is a plain number
            await asyncio.sleep(0.01)
    assert await in_thread(lambda: 7) == 7


async def test_beside_a_slow_projection_the_event_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stands still for a piece of work that is quick; a slow one gets no second chance soon."""
    hand = Hand("stands-still")
    turns = [0]

    async def turning() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(turning())
    await asyncio.sleep(0)
    before = turns[0]
    with monkeypatch.context() as patient:  # a busy machine may take long to wake a thread
        patient.setattr(threads, "_STILL_SECONDS", 10.0)
        await in_thread(time.sleep, 0.001, hand=hand)
    assert turns[0] == before
    gaps = []
    for _ in range(5):
        began = time.perf_counter()
        slow = asyncio.create_task(in_thread(time.sleep, 0.2, hand=hand))
        await asyncio.sleep(0)
        gaps.append(time.perf_counter() - began)
        await slow
    # It stood still for the first one.
    assert max(gaps[1:]) < 0.1
    others.cancel()


async def test_what_a_quick_piece_of_work_raises_is_raised() -> None:
    def work() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await in_thread(work, hand=Hand("raises"))


async def test_pieces_of_work_one_after_another_take_one_thread() -> None:
    hand = Hand("one-thread")
    used = {await in_thread(threading.get_ident, hand=hand) for _ in range(200)}
    assert len(used) == 1
