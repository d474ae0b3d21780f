"""The worker: `python worker.py` is the same as `refold worker`."""

from __future__ import annotations

from refold.runtime.importing import import_swiftly
from refold.runtime.leaving import leave

if __name__ == "__main__":
    import_swiftly()
    from refold.worker.process import main

    leave(main())
