"""What a run is going to do, and what it would change, for people."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from refold.messages.base import Message
from refold.messages.run.selection import Selection


class DiffSample(Message):
    """One row that differs.

    Values are as JSON has them if they are NULL, true, false or a whole number, and PostgreSQL's
    text otherwise; long text is cut, which a "…" shows.

    Attributes:
        kind: ``added`` (only in the new table), ``removed`` (only in the live one) or ``changed``.
        key: The key columns.
        live: The other columns in the live table; of a changed row those that differ, None of an
            added one.
        shadow: The other columns in the new table, alike; None of a removed row.
    """

    kind: Literal["added", "removed", "changed"]
    key: dict[str, Any]
    live: dict[str, Any] | None
    shadow: dict[str, Any] | None


class Foretold(Message):
    """What a run would change, found by folding some keys in memory.

    Attributes:
        keys: How many of the keys that it repairs were folded.
        all_keys: Whether these were all of them.
        added: Keys among them whose row is missing in the live table.
        removed: Keys among them that have a row and should have none.
        changed: Keys among them whose row is another than it should be.
        samples: Some of these rows, ``shadow`` being what the run would make of them.
        note: Why keys were passed over; None when none was.
    """

    keys: int
    all_keys: bool
    added: int
    removed: int
    changed: int
    samples: list[DiffSample] = Field(default_factory=list)
    note: str | None = None


class Preview(Message):
    """The answer to the query `plan`: what a run is going to do, for people.

    Attributes:
        projection: The projection.
        version: The projection's version that folds.
        replaces_version: The version that built what readers query now; None for nothing.
        position: How far events are folded at least: the head when the plan was made, or the
            position that was asked for.
        total_events: Events to fold.
        keys: Rows to expect, an estimate; None when nothing can be said.
        partitions: Slices of the keys, each refolded by an activity of its own.
        max_concurrency: Partitions at a time.
        batch_size: Events in one transaction.
        estimated_seconds: By the projection's latest completed run, else by a cautious guess.
        estimated_bytes: Disk that the new table takes beside the old one.
        generation: The generation that is written.
        atomic: Whether a new table is built and swapped in.
        backup: The generation that holds what stood there, of a run in place; None for none.
        keep_backup: Whether it is kept when the run completes.
        rollback_on_failure: Whether it is brought back when the run does not complete.
        carried: What is attached to the live table and moves to the new one.
        refused: What is attached to it and cannot move; a run, unlike a dry run, fails then.
        swap: The swap's statements, in order.
        note: Why it is done otherwise than one might expect; None when it is not.
        selection: Which events name the keys that are repaired; None for all keys.
        selected_events: How many events these are.
        selected_keys: How many keys they name.
        foretold: What it would change, of a sample; of a dry run only.
        lookups: Tables beside the events that the rows depend on, of a projection said in SQL.
    """

    projection: str
    version: int
    replaces_version: int | None
    position: int
    total_events: int
    keys: int | None = None
    partitions: int = 0
    max_concurrency: int
    batch_size: int
    estimated_seconds: float | None = None
    estimated_bytes: int | None = None
    generation: int
    atomic: bool
    backup: int | None = None
    keep_backup: bool = False
    rollback_on_failure: bool = False
    carried: list[str] = Field(default_factory=list)
    refused: list[str] = Field(default_factory=list)
    swap: list[str] = Field(default_factory=list)
    note: str | None = None
    selection: Selection | None = None
    selected_events: int | None = None
    selected_keys: int | None = None
    foretold: Foretold | None = None
    lookups: list[str] = Field(default_factory=list)
