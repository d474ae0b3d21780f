"""All workflow types, as a worker serves them."""

from refold.workflows import versioned
from refold.workflows.backfill import Backfill
from refold.workflows.delivery import SystemEvents
from refold.workflows.mirror import Mirror
from refold.workflows.projection import Projection
from refold.workflows.rebuild import Rebuild
from refold.workflows.rollback import Rollback
from refold.workflows.snapshot import Snapshot

WORKFLOWS = [Backfill, Rebuild, Rollback, Snapshot, Projection, SystemEvents, Mirror]

VERSIONED = [
    versioned.Backfill,
    versioned.Rebuild,
    versioned.Rollback,
    versioned.Snapshot,
    versioned.Projection,
    versioned.SystemEvents,
    versioned.Mirror,
]
"""The same for workers with versions."""
