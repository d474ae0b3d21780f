"""Backfill, Rebuild and Rollback: orchestration only; all work is done by activities."""

from workflows.backfill import Backfill
from workflows.rebuild import Rebuild
from workflows.rollback import Rollback

WORKFLOWS = [Backfill, Rebuild, Rollback]

__all__ = ["WORKFLOWS", "Backfill", "Rebuild", "Rollback"]
