"""A worker process does not outlive the one that has started it, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0


def die_with(parent: int) -> None:
    """From now on this process is killed as soon as `parent` is gone.

    What is in hand is lost, as with any SIGKILL: whoever takes over goes on from the last commit.
    The kernel does it on Linux; elsewhere a thread looks every second. It is called by the child,
    not between fork and exec, where a lock of another thread may be held for ever.

    Args:
        parent: The process that has started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        return
    threading.Thread(target=_watch, args=(parent,), name="refold-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
