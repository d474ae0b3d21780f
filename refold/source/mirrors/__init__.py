"""Where a mirror copies events from: `MirrorSource` says what that is, functions make known ones.

``REFOLD_MIRRORS=shop.mirrors:kurrent`` names a source::

    kurrent = mirrors.kurrentdb("kurrentdb://…")
"""

from refold.source.mirrors.kurrent import kurrentdb
from refold.source.mirrors.of_events import event_source
from refold.source.mirrors.protocol import Cursor, MirroredEvent, MirrorSource

__all__ = ["Cursor", "MirrorSource", "MirroredEvent", "event_source", "kurrentdb"]
