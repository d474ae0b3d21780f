"""All workflow types, as a worker serves them."""

from workflows.backfill import Backfill
from workflows.delivery import SystemEvents
from workflows.projection import Projection
from workflows.rebuild import Rebuild
from workflows.rollback import Rollback
from workflows.snapshot import Snapshot

WORKFLOWS = [Backfill, Rebuild, Rollback, Snapshot, Projection, SystemEvents]
