"""The cyclic garbage collector of a process that folds."""

import gc


def calm_garbage_collector() -> None:
    """Lets the cyclic collector look seldom, and never at what there is by now.

    A fold makes millions of short-lived objects and no cycles. With the default threshold the
    collector walks them over and over, for a third of a rebuild's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
