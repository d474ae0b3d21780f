"""For the tests of projections: folding a few events, and whether batches make a difference.

`given` and `assert_fold` need no server. ``refold.testing.stack`` has a pytest fixture with real
servers, for tests that need them.
"""

from refold.testing.batches import assert_same_in_batches
from refold.testing.events import GivenEvent
from refold.testing.folding import assert_fold, given

__all__ = ["GivenEvent", "assert_fold", "assert_same_in_batches", "given"]
