"""How a process of Refold ends."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """Ends the process at once, with all output written.

    Temporal's client has threads of its own that may still hand results to Python while the
    interpreter is being torn down, which aborts the process: one exit in three, with status 134
    after all was done.
    """
    # What was not imported has nothing to write: a command that needs neither starts without both.
    if "opentelemetry" in sys.modules:
        from refold.runtime.telemetry.flushing import flush_telemetry

        flush_telemetry()
    if "logging" in sys.modules:
        import logging

        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # The reader of our output may be gone.
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)
