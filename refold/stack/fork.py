"""Forks children that die with this process, even when it is killed with SIGKILL.

On Linux the kernel sends each child its death signal (PR_SET_PDEATHSIG). Elsewhere there is
no such thing: after a SIGKILL the next start finds and stops what was left (leftovers.py).
"""

import ctypes
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future

PR_SET_PDEATHSIG = 1

Spawn = Callable[[], subprocess.Popen[bytes]]


def fork(spawn: Spawn) -> subprocess.Popen[bytes]:
    """Calls `spawn` in a thread that lives as long as this process; raises what it raises."""
    # The kernel's "parent" is the thread that forked: a child forked from a pool's thread would
    # be killed when the pool shrinks. Hence one forking thread for all.
    started: Future[subprocess.Popen[bytes]] = Future()
    _fork_thread(os.getpid()).put((spawn, started))
    return started.result()


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` for Popen; None where the system has no parent-death signal."""
    if sys.platform != "linux":
        return None
    # Looked up before the fork: after it, a lock held by another thread may never be released.
    prctl = ctypes.CDLL(None).prctl
    parent, number = os.getpid(), int(death_signal)

    def bind() -> None:
        # Runs after setuid, which would clear the setting.
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return bind


@functools.cache
def _fork_thread(
    _pid: int,
) -> "queue.SimpleQueue[tuple[Spawn, Future[subprocess.Popen[bytes]]]]":
    # Cached by pid, as a forked copy of this process has the cache but not the thread.
    requests: queue.SimpleQueue[tuple[Spawn, Future[subprocess.Popen[bytes]]]]
    requests = queue.SimpleQueue()

    def serve() -> None:
        while True:
            spawn, started = requests.get()
            try:
                # Python 3.12 warns of any preexec_fn in a process with threads; raised as an
                # error, the warning would come after the fork and lose the child.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    started.set_result(spawn())
            except BaseException as error:
                started.set_exception(error)

    threading.Thread(target=serve, name="refold-fork", daemon=True).start()
    return requests
