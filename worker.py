"""The worker: `python worker.py` is the same as `refold worker`."""

from __future__ import annotations

from refold.runtime.importing import imported
from refold.runtime.leaving import leave

if __name__ == "__main__":
    leave(imported("refold.worker.process").main())
