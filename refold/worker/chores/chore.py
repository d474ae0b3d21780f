"""A chore: a name, an interval, and one method that does all that there is to do now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from refold.store.left_behind import Trouble


@dataclass
class Looked:
    """What one look came to.

    Attributes:
        projections: Those that were looked at; None for all that there are.
        troubles: What could not be done, each item with its reason.
        done: What was done, for logs and tests.
    """

    projections: list[str] | None = None
    troubles: list[Trouble] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def cannot(self, projection: str, item: str, reason: str) -> None:
        """Notes an item that could not be done."""
        self.troubles.append(Trouble(projection, item, reason))


class Chore(Protocol):
    """Something that workers see to now and then. Any number of workers may, at a time.

    Attributes:
        name: What people read in logs and in `refold status`.
        seconds: From the end of one look to the next.
    """

    name: str
    seconds: float

    async def run_once(self) -> Looked:
        """Does what there is to do now. One item that fails keeps no other from being done.

        Raises:
            Exception: Nothing could be looked at, as when a server does not answer.
        """
