"""The worker: `python worker.py` is the same as `refold worker`."""

from __future__ import annotations

from refold.runtime.command import leave
from refold.worker.process import main

if __name__ == "__main__":
    leave(main())
