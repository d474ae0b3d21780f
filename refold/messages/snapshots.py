"""What crosses Temporal, and what people are told, of snapshots."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from refold.messages.base import Message, open_to_new
from refold.requests.runs import SnapshotRequest


class SnapshotInfo(Message):
    """A snapshot: a frozen copy of a generation at its checkpoint.

    Attributes:
        generation: Its number, among the projection's generations.
        version: The projection's version that built its rows.
        position: Its checkpoint: every settled event up to here is in it, none after.
        rows: How many rows it has.
        created_at: When it was begun.
    """

    generation: int
    version: int
    position: int
    rows: int
    created_at: datetime


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
