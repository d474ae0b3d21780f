"""Backfill and Rebuild: orchestration only; all work is done by activities."""

from workflows.backfill import Backfill
from workflows.rebuild import Rebuild

WORKFLOWS = [Backfill, Rebuild]

__all__ = ["WORKFLOWS", "Backfill", "Rebuild"]
