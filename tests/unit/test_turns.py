"""How many partitions of a run a process folds at a time."""

from __future__ import annotations

import asyncio

import pytest

from refold.engine import turns as module
from refold.engine.step import Step
from refold.engine.turns import Turn, Turns


class Partition:
    """One that takes its turn, and keeps it until it is told to end."""

    def __init__(self, turns: Turns, run_id: str, *, waits: bool = True) -> None:
        self.turn: Turn | None = None
        self.step = Step()
        self._ends = asyncio.Event()
        self.task = asyncio.create_task(self._work(turns, run_id, waits))

    async def _work(self, turns: Turns, run_id: str, waits: bool) -> None:
        async with turns.turn(run_id, self.step, waits=waits) as self.turn:
            await self._ends.wait()

    async def end(self) -> None:
        self._ends.set()
        await self.task


async def at_work(partitions: list[Partition]) -> list[bool]:
    """Which of them have begun, after all have had a chance to."""
    for _ in range(10):
        await asyncio.sleep(0)
    return [partition.turn is not None for partition in partitions]


async def test_two_of_a_run_at_a_time_in_the_order_in_which_they_came() -> None:
    turns = Turns()
    four = [Partition(turns, "run") for _ in range(4)]
    assert await at_work(four) == [True, True, False, False]
    assert ["turn" in partition.step.details for partition in four] == [False, False, True, True]
    await four[1].end()
    assert await at_work(four) == [True, True, True, False]
    for each in four:
        await each.end()


async def test_runs_do_not_wait_for_each_other() -> None:
    turns = Turns()
    several = [Partition(turns, run_id) for run_id in ("a", "a", "b", "b", "a", "b")]
    assert await at_work(several) == [True, True, True, True, False, False]
    for each in several:
        await each.end()


async def test_what_hardly_computes_does_not_wait() -> None:
    turns = Turns()
    four = [Partition(turns, "run", waits=False) for _ in range(4)]
    assert await at_work(four) == [True] * 4
    for each in four:
        await each.end()


async def test_slow_handlers_keep_nobody_waiting() -> None:
    turns = Turns()
    four = [Partition(turns, "run") for _ in range(4)]
    await at_work(four)
    for each in four[:2]:
        assert each.turn is not None
        each.turn.took(0.01)
    assert await at_work(four) == [True, True, False, False]
    four[0].turn.took(2.0)  # type: ignore[union-attr]
    four[0].turn.took(2.0)  # type: ignore[union-attr]
    assert await at_work(four) == [True, True, True, False], "a turn ends once"
    for each in four:
        await each.end()


async def test_one_that_hangs_keeps_others_waiting_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    turns = Turns()
    three = [Partition(turns, "run") for _ in range(3)]
    assert await at_work(three) == [True, True, False]
    await asyncio.sleep(0.2)
    assert await at_work(three) == [True, True, True]
    await three[2].end()  # it had none, so that it gives none to others
    fourth = Partition(turns, "run")
    assert await at_work([fourth]) == [False]
    for each in (*three[:2], fourth):
        await each.end()


async def test_who_is_cancelled_while_waiting_takes_no_turn() -> None:
    turns = Turns()
    three = [Partition(turns, "run") for _ in range(3)]
    await at_work(three)
    three[2].task.cancel()
    await asyncio.wait([three[2].task])
    fourth = Partition(turns, "run")
    await three[0].end()
    assert await at_work([fourth]) == [True]
    for each in (three[1], fourth):
        await each.end()
