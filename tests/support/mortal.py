"""A read model whose worker dies at a chosen event, for REFOLD_PROJECTIONS of worker processes.

As long as the file DEATH_FILE holds a number, each process folds so many events, removes the file
and kills itself. With AT_ONCE, a function takes many events of a key at once. In the test's own
process, without these variables, it is an ordinary read model.
"""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

from refold import Event, Projection, Row
from tests.support.at_once import at_once
from tests.support.counters import counters

_file = Path(os.environ["DEATH_FILE"]) if "DEATH_FILE" in os.environ else None
_folds = itertools.count(1)


def _maybe_die() -> None:
    if _file is None or not _file.exists():
        return
    if next(_folds) >= int(_file.read_text()):
        _file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _mortal() -> Projection:
    partitions = int(os.environ.get("PARTITIONS", "1"))
    if "AT_ONCE" in os.environ:
        return at_once(_maybe_die, partitions=partitions)
    right = counters(partitions=partitions)
    made = Projection("counters", table=right.table, key="data.key", backfill=right.backfill)

    @made.on("Added")
    def added(row: Row | None, event: Event) -> Row | None:
        _maybe_die()
        return right.handlers["Added"](row, event)

    made.on("Removed")(right.handlers["Removed"])
    return made


mortal = _mortal()
