"""What crosses Temporal, and what people are told, of snapshots."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from refold.messages.base import Message, open_to_new
from refold.requests.runs import SnapshotRequest


class SnapshotInfo(Message):
    """A snapshot: a read model as it was at a position.

    Attributes:
        generation: Of a copy, its own number; else the generation that has its rows.
        version: The projection's version that built its rows.
        position: Every settled event up to here is in it, none after.
        rows: How many rows it has; None when they were not counted.
        created_at: When it was begun.
        kept_as: ``copy``: all its rows; ``changes``: what has changed in the generation since.
        trigger: The type of the event that made it due; None for others.
        has_json: Whether another version can take it, by its `restore`.
    """

    generation: int
    version: int
    position: int
    rows: int | None
    created_at: datetime
    kept_as: Literal["copy", "changes"] = "copy"
    trigger: str | None = None
    has_json: bool = False


class BeginSnapshot(Message):
    """Tells `begin_snapshot` who asks for what."""

    run_id: str
    request: Annotated[SnapshotRequest, open_to_new(SnapshotRequest)]


class Copied(Message):
    """What `copy_generation` copied.

    Attributes:
        position: The copy's checkpoint.
        rows: How many rows.
    """

    position: int
    rows: int
