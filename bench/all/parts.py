"""The benches, and what each is told."""

from __future__ import annotations

from bench.all.report import LARGE

_BILLION = 1_000_000_000


def parts(events: int, runs: int) -> dict[str, list[str]]:
    """The arguments of each bench, by its module.

    Of a large number of events, only what grows with them is measured: following, the peer, the
    time from append to visible and the simulation would say the same.

    Args:
        events: How many events there are.
        runs: How often each figure is measured.
    """
    found = {
        name: _arguments(events, runs)
        for name in ("bench.rebuild", "bench.sql", "bench.function_keys")
    }
    if events >= LARGE:
        return found
    # As many as take some seconds.
    found["bench.floor"] = _arguments(min(events, 200_000), runs)
    found["bench.follow"] = _arguments(min(events, 200_000), runs)
    found["bench.peer"] = _arguments(max(40, min(events // 100, 10_000)), runs)
    appends = str(max(20, min(events // 4_000, 250)))
    found["bench.live"] = [*_arguments(min(events // 10, 100_000), runs), "--appends", appends]
    billion = min(_BILLION, 1000 * events)
    days = str(billion / _BILLION)
    found["bench.simulation"] = [*_arguments(billion, 1), "--days", days]
    return found


def _arguments(events: int, runs: int) -> list[str]:
    return ["--events", str(events), "--runs", str(runs)]
