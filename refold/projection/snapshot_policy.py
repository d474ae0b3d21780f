"""When a projection makes snapshots unasked, how many it keeps, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MADE_BY_ITSELF = "snapshots of the projection"
"""What stands as the one who asked for snapshots that older versions made unasked, as copies."""

Create = Callable[[dict[str, Any]], dict[str, Any]]
"""A row in, what a snapshot keeps of it out: a dict that JSON can hold. It must be pure."""

Restore = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What `Create` made of a row in, as JSON has it; a row of this version out, or None for none."""

EVERY_N_EVENTS, KEEP_LAST = 1000, 5
"""Of automatic snapshots, unless somebody says otherwise."""

_AUTOMATIC = re.compile(r"automatic(?::([1-9][0-9]{0,17})(?::([1-9][0-9]{0,2}|1000|all))?)?")


class SnapshotStrategy(StrEnum):
    """When snapshots are made, beside those that somebody asks for."""

    NONE = "none"
    AUTOMATIC = "automatic"
    MANUAL = "manual"


class Snapshots(BaseModel):
    """A projection's own settings for snapshots: see `automatic`, `manual` and `none`.

    Attributes:
        strategy: When they are made.
        every_n_events: Of ``automatic``: after so many events of the types that it reads.
        trigger_on: Of ``manual``: after an event of one of these types.
        keep_last: How many of those made so are kept, the latest; None for all. What somebody has
            asked for stays until somebody drops it.
        create: What a snapshot keeps of a row for other versions, as JSON; None for nothing.
        restore: How this version makes its row of what another version's `create` kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: SnapshotStrategy = SnapshotStrategy.NONE
    every_n_events: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    trigger_on: tuple[str, ...] = ()
    keep_last: Annotated[int, Field(ge=1, le=1000)] | None = None
    create: Annotated[Create | None, Field(exclude=True)] = None
    restore: Annotated[Restore | None, Field(exclude=True)] = None

    @classmethod
    def none(cls, *, restore: Restore | None = None) -> Snapshots:
        """None are made unless somebody asks.

        Args:
            restore: How this version makes its rows of other versions' snapshots.
        """
        return cls(restore=restore)

    @classmethod
    def automatic(
        cls,
        every_n_events: int = EVERY_N_EVENTS,
        keep_last: int | None = KEEP_LAST,
        *,
        create: Create | None = None,
        restore: Restore | None = None,
    ) -> Snapshots:
        """One each time so many events have been applied since the latest of these.

        Args:
            every_n_events: Of the types that the projection reads; from 1.
            keep_last: So many are kept, from 1 to 1,000; None for all.
            create: What a snapshot keeps of a row for other versions; see `Create`.
            restore: How this version makes its rows of other versions' snapshots.
        """
        return cls(
            strategy=SnapshotStrategy.AUTOMATIC,
            every_n_events=every_n_events,
            keep_last=keep_last,
            create=create,
            restore=restore,
        )

    @classmethod
    def manual(
        cls,
        trigger_on: str | Iterable[str] = (),
        keep_last: int | None = None,
        *,
        create: Create | None = None,
        restore: Restore | None = None,
    ) -> Snapshots:
        """One of the moment of each event of a type that you name: it is the last one in it.

        Args:
            trigger_on: One event type, or several; they need no handlers. None for snapshots that
                are made on demand only.
            keep_last: So many are kept, from 1 to 1,000; None for all.
            create: What a snapshot keeps of a row for other versions; see `Create`.
            restore: How this version makes its rows of other versions' snapshots.
        """
        types = (trigger_on,) if isinstance(trigger_on, str) else tuple(trigger_on)
        return cls(
            strategy=SnapshotStrategy.MANUAL,
            trigger_on=types,
            keep_last=keep_last,
            create=create,
            restore=restore,
        )

    @classmethod
    def parse(cls, words: str) -> Snapshots:
        """A policy in words: ``none``, ``automatic``, ``automatic:1000`` or ``automatic:1000:5``.

        The first number is `every_n_events`; the second is `keep_last`, or ``all``.

        Raises:
            ValueError: They say something else.
        """
        if words.strip() == "none":
            return cls.none()
        said = _AUTOMATIC.fullmatch(words.strip())
        if said is None:
            raise ValueError(
                "expected none, automatic, automatic:EVERY or automatic:EVERY:KEEP, such as "
                f"automatic:1000:5, where KEEP is from 1 to 1000, or all; got {words!r}"
            )
        every, keep = said.groups()
        kept = None if keep == "all" else int(keep or KEEP_LAST)
        return cls.automatic(int(every or EVERY_N_EVENTS), kept)

    @property
    def by_itself(self) -> bool:
        """Whether any are made unasked."""
        return self.every_n_events is not None or bool(self.trigger_on)
