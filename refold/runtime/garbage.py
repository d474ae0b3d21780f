"""The cyclic garbage collector of a process that folds."""

from __future__ import annotations

import gc


def calm_garbage_collector() -> None:
    """Lets the cyclic collector look seldom, and never at what there is by now.

    A fold makes millions of short-lived objects and no cycles. With the default threshold the
    collector walks them over and over, for a third of a rebuild's time.

    A process that lives long needs the chore `Garbage`, too. With these thresholds an object
    that has become old is kept for hours: the collector looks at old objects only when their
    number has grown by a quarter.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 100)
