"""A call that computes for long pauses for others, and for nobody when there are none."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest

from refold.errors import HandlerOverdue
from refold.event import Event
from refold.runtime import threads
from refold.runtime.calls import brake
from refold.runtime.calls.job import Job
from refold.runtime.threads import LASTING, Hand, in_thread

EVENT = Event(1, "s-1", 1, "Added", {}, {}, datetime(2026, 1, 1, tzinfo=UTC))

release = threading.Event()


def turns_round() -> None:
    while not release.is_set():
        pass


def one_line() -> None:
    while True: pass  # noqa: E701  # fmt: skip


def many_steps() -> None:
    for _ in range(10**12):
        if release.is_set():
            return


def calls_others() -> None:
    def other() -> bool:
        return release.is_set()

    while not other():
        continue


def generator() -> None:
    def steps() -> Iterator[int]:
        while not release.is_set():
            yield 1

    sum(steps())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "BRAKE_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_LOOK_SECONDS", 0.02)
    release.clear()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Those that have a brake, in the order in which they were begun."""
    made: list[Job] = []
    begin = brake.Brake.__init__

    def noted(self: brake.Brake, job: Job) -> None:
        made.append(job)
        begin(self, job)

    monkeypatch.setattr(brake.Brake, "__init__", noted)
    return made


def with_event(handler: Callable[[], None], hand: Hand) -> Callable[[], None]:
    def work() -> None:
        hand.begin(EVENT)
        handler()

    return work


async def others_until(enough: Callable[[], bool]) -> None:
    for _ in range(3000):
        if enough():
            return
        await in_thread(lambda: None)
        await asyncio.sleep(0.01)
    raise AssertionError("not within 30 s")


ENDLESS = [turns_round, one_line, many_steps, calls_others, generator]


@pytest.mark.parametrize("handler", ENDLESS, ids=lambda one: one.__name__)
async def test_a_long_call_pauses_beside_others_and_is_ended_where_it_stands(
    handler: Callable[[], None], jobs: list[Job]
) -> None:
    hand = Hand("orders")
    began = time.monotonic()
    call = asyncio.create_task(in_thread(with_event(handler, hand), hand=hand, seconds=0.3))
    await others_until(call.done)
    with pytest.raises(HandlerOverdue) as raised:
        await call
    assert jobs[0].paused > 0
    # The time of its pauses was given to it on top.
    assert time.monotonic() - began >= 0.3 + jobs[0].paused - 0.04
    place = re.search(r"stands at (.*):\d+ \(work\)", str(raised.value))
    assert place is not None, raised.value
    assert place[1] == __file__


async def test_a_call_without_others_does_not_pause(jobs: list[Job]) -> None:
    hand = Hand("orders")
    with pytest.raises(HandlerOverdue):
        await in_thread(with_event(turns_round, hand), hand=hand, seconds=0.3)
    assert jobs[0].paused == 0


async def test_a_call_pauses_for_whatever_else_computes(jobs: list[Job]) -> None:
    hand = Hand("orders")
    call = asyncio.create_task(in_thread(with_event(turns_round, hand), hand=hand, seconds=60))
    for _ in range(3000):
        if jobs and jobs[0].paused > 0:
            break
        sum(range(200_000))  # the event loop itself
        await asyncio.sleep(0.001)
    release.set()
    await call
    assert jobs[0].paused > 0


async def test_two_long_calls_do_not_pause_for_each_other(jobs: list[Job]) -> None:
    hands = [Hand("orders"), Hand("customers")]
    calls = [in_thread(with_event(turns_round, one), hand=one, seconds=1.5) for one in hands]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in ended] == [HandlerOverdue, HandlerOverdue]
    # The second one was a job beside the first, for as long as one counts.
    assert all(job.paused < brake._RECENT_SECONDS for job in jobs)


def test_long_calls_pause_together(monkeypatch: pytest.MonkeyPatch) -> None:
    two = [SimpleNamespace(is_at_work=True, pause=Mock()), SimpleNamespace(pause=Mock())]
    monkeypatch.setattr(brake, "_pulled", {brake.Brake(cast(Job, one)) for one in two})
    two[1].is_at_work = False
    brake.another_job()
    assert [one.pause.called for one in two] == [False, False]
    two[1].is_at_work = True
    brake.another_job()
    assert [one.pause.called for one in two] == [True, True]


async def test_quick_calls_do_not_pause_however_many_a_piece_has(
    monkeypatch: pytest.MonkeyPatch, jobs: list[Job]
) -> None:
    monkeypatch.setattr(threads, "BRAKE_SECONDS", 0.3)
    hand = Hand("orders")

    def work() -> None:
        for _ in range(30):
            hand.begin(EVENT)
            ends = time.monotonic() + 0.02
            while time.monotonic() < ends:
                pass

    call = asyncio.create_task(in_thread(work, hand=hand, seconds=30))
    await others_until(call.done)
    await call
    assert jobs[0].paused == 0


async def test_a_call_that_ends_leaves_no_pause_to_its_thread(jobs: list[Job]) -> None:
    hand = Hand("orders")
    traced: list[tuple[int, object]] = []

    def work() -> None:
        hand.begin(EVENT)
        turns_round()

    call = asyncio.create_task(in_thread(work, hand=hand, seconds=60))
    await others_until(lambda: bool(jobs) and jobs[0].paused > 0.1)
    jobs[0].pause()
    release.set()
    await call
    paused = jobs[0].paused
    jobs[0].pause()  # too late
    for _ in range(5):
        await in_thread(lambda: traced.append((threading.get_ident(), sys.gettrace())))
        await asyncio.sleep(0.03)
    assert (jobs[0].thread, None) in traced
    assert all(trace is None for _, trace in traced)
    assert jobs[0].paused == paused


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a tracer of its own there")
async def test_code_that_a_debugger_traces_does_not_pause(jobs: list[Job]) -> None:
    hand = Hand("orders")
    seen: list[object] = []

    def tracer(*_: object) -> None:
        return None

    def traced() -> None:
        sys.settrace(tracer)
        in_its_place.append(threading.get_ident())

    def untraced() -> None:
        seen.append(sys.gettrace())
        sys.settrace(None)

    in_its_place: list[int] = []
    await in_thread(traced)
    call = asyncio.create_task(in_thread(with_event(turns_round, hand), hand=hand, seconds=60))
    await asyncio.sleep(0.3)
    await others_until(lambda: True)
    await asyncio.sleep(0.3)
    release.set()
    await call
    assert jobs[0].thread == in_its_place[0]
    assert jobs[0].paused == 0
    await in_thread(untraced)
    assert seen == [tracer]


async def test_a_call_that_pauses_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LASTING_SECONDS", 0.5)
    told: list[str] = []
    LASTING.set(told)
    hand = Hand("orders")
    call = asyncio.create_task(in_thread(with_event(turns_round, hand), hand=hand, seconds=60))
    await others_until(lambda: bool(told))
    release.set()
    assert "after 60 s without its pauses for others it is ended" in told[0]
    await call
    assert told == []
