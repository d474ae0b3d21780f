"""What a mirror copies from: anything that gives events in order, each with a cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from refold.errors import UnreadableEvent
from refold.source.log import NewEvent

F = TypeVar("F")
T = TypeVar("T")

Cursor: TypeAlias = Any
"""A place in a source: a value of JSON that only the source understands, never None."""


@dataclass(frozen=True)
class MirroredEvent(NewEvent):
    """An event to copy: a `NewEvent` that has a stream, and a version if its source has versions.

    Attributes:
        stream_id: The stream that it belongs to.
        version: Its version there, as `refold.events` is to have it: from 1, as a rule. None when
            the source has no versions: it then gets the next one of its stream.
    """

    stream_id: str = ""
    version: int | None = None


class MirrorSource(Protocol):
    """Gives events in an order that stays the same however often it is asked."""

    async def read(
        self, after: Cursor | None, limit: int
    ) -> Sequence[tuple[Cursor, MirroredEvent | None]]:
        """The events that come next, each with its cursor; one that is not copied is None.

        What is given is settled: nothing can appear before it any more. Fewer than `limit` say
        that there are no more for now; none at all, that there is nothing new.

        What is raised is judged as anywhere: errors of connections, and those whose class passes,
        are tried again for as long as it takes, others a few times or not at all.

        Args:
            after: The cursor of the last event that was copied (exclusive); None for the beginning.
            limit: How many are given at most.
        """
        ...


def readable(found: Sequence[F], read: Callable[[F], T]) -> list[T]:
    """What is read of events, up to the first that cannot be: those before it are copied first.

    Raises:
        UnreadableEvent: The very first one cannot be read.
    """
    made: list[T] = []
    for one in found:
        try:
            made.append(read(one))
        except UnreadableEvent:
            if not made:
                raise
            break
    return made
