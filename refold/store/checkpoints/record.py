"""What a store keeps of a live projection, and what every store can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Record:
    """A live checkpoint, as a store has it.

    Attributes:
        position: Every settled event up to here (inclusive) is in the rows.
        next: The batch in hand ends here at the latest (inclusive): whether the rows have the
            events in (position, next] is not known to the store.
        fence: The token of who may move it.
    """

    position: int
    next: int
    fence: int


class CheckpointStore(Protocol):
    """Keeps records by name. Every write is durable, and seen by all readers, when it returns.

    A name is of letters, digits, ``-``, ``_`` and ``.``, at most 120 characters. Each method may
    raise whatever the store's client raises.
    """

    async def read(self, name: str) -> Record | None:
        """The record as it is now, not as a replica has it; None when there is none."""

    async def create(self, name: str, record: Record) -> bool:
        """Makes a record; False, and nothing happens, when there is one of that name."""

    async def advance(self, name: str, expected: Record, new: Record) -> bool:
        """Puts a record in the place of the one that is expected.

        Returns:
            False, and nothing happens, when position or fence are others, or there is no record.
        """

    async def drop(self, name: str) -> None:
        """Removes a record; nothing happens when there is none."""

    async def close(self) -> None:
        """Gives connections up."""
