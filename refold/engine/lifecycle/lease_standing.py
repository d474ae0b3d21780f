"""How the run that holds a lease stands: alive, ended without cleaning up, or not ours to judge.

Several installations may work on one database: each ends only what is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from refold.store.leases import Lease


@dataclass(frozen=True)
class Installation:
    """A namespace of a Temporal server.

    Attributes:
        namespace: Its name, which many servers have.
        id: The namespace's own id, which no other has, and which it keeps when the server is
            upgraded, moved or failed over; None when the server does not tell.
    """

    namespace: str
    id: str | None

    def owns(self, lease: Lease) -> bool:
        """Whether the run that holds a lease is of this installation."""
        if lease.installation is None or self.id is None:
            return lease.namespace == self.namespace
        return lease.installation == self.id


class LeaseStanding(Enum):
    """What is known of a lease's run."""

    ALIVE = auto()
    """Its workflow runs, whatever it waits for."""

    ENDED = auto()
    """Its workflow has ended, or somebody who may has said that it is over."""

    ELSEWHERE = auto()
    """It is of another installation: whether it runs cannot be seen from here."""


class Executions(Protocol):
    """Who knows which workflows run: Temporal, as a worker asks it."""

    async def installation(self) -> Installation:
        """The installation that is asked."""

    async def standing(self, lease: Lease) -> LeaseStanding:
        """How a lease's run stands."""
