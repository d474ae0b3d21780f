"""Statuses of runs as workflows show them, and which follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import pytest

from refold.messages.run.life import Progress
from refold.messages.run.progress import ProgressMeter
from refold.messages.run.status import RunStatus

Transition = tuple[RunStatus, RunStatus]


@contextmanager
def watched_statuses() -> Iterator[set[Transition]]:
    """What workflows of this process go through meanwhile: settled, and as people see it."""
    seen: set[Transition] = set()
    settled: WeakKeyDictionary[ProgressMeter, RunStatus] = WeakKeyDictionary()
    shown: WeakKeyDictionary[ProgressMeter, RunStatus] = WeakKeyDictionary()
    progress = ProgressMeter.progress

    def watching(meter: ProgressMeter) -> Progress:
        found = progress(meter)
        for known, now in ((settled, meter.status), (shown, found.status)):
            before = known.get(meter, now)
            if before is not now:
                seen.add((before, now))
            known[meter] = now
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressMeter, "progress", watching)
        yield seen


def illegal(seen: set[Transition]) -> list[str]:
    """Those that the table does not have."""
    return sorted(f"{before} to {now}" for before, now in seen if not before.may_become(now))
