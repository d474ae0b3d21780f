"""What tests ask of a library that keeps events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

from refold import Event
from refold.source.port.event_source import EventSource
from tests.support.mapped import Shape


class Said(NamedTuple):
    """An event before it is appended."""

    type: str
    data: dict[str, Any]
    metadata: dict[str, Any]


Appends = Mapping[str, Sequence[Sequence[Said]]]
"""For each stream what is appended to it, each in a transaction of its own."""


class Conflict(Exception):
    """The library has refused an append: somebody else was first."""


class Appender(Protocol):
    """A library at work in one database, in which it has made its own tables."""

    source: EventSource

    def append(self, appends: Appends) -> None:
        """Appends to several streams at the same time, to each of them in order."""

    def append_too_late(self, stream: str, said: Said) -> None:
        """Appends to a stream of several events as if it still had one.

        Raises:
            Conflict: As it must.
        """

    def read(self) -> list[Event]:
        """All events as the library itself reads them, in the order of their positions."""


class Opening(Protocol):
    """What puts a library to work in the database with this URL."""

    def __call__(self, url: str) -> AbstractContextManager[Appender]: ...


@dataclass(frozen=True)
class Library:
    """A library.

    Attributes:
        name: For the test's name.
        opened: What puts it to work.
        keeps_metadata: Whether events have metadata.
        sees_data: Whether SQL can see into the data.
        shape: The tables that other tests take for those of this library.
    """

    name: str
    opened: Opening
    shape: Shape
    keeps_metadata: bool = True
    sees_data: bool = True


def made_up(count: int, *, seed: int, streams: Sequence[str]) -> Appends:
    """So many events, one to four at a time, each time to a stream by chance."""
    chance = Random(seed)
    made: dict[str, list[list[Said]]] = {}
    left = count
    while left > 0:
        said = [_event(chance) for _ in range(min(chance.randrange(1, 5), left))]
        left -= len(said)
        made.setdefault(chance.choice(streams), []).append(said)
    return made


def at_once(append: Callable[[str, Sequence[Said]], object], appends: Appends) -> None:
    """Appends in three threads, each at its own streams."""
    with ThreadPoolExecutor(3) as threads:

        def work(stream: str) -> None:
            for said in appends[stream]:
                append(stream, said)

        list(threads.map(work, appends))


def _event(chance: Random) -> Said:
    kind = "Removed" if chance.random() < 0.05 else "Added" if chance.random() < 0.9 else "Noted"
    data = {"key": f"k{chance.randrange(20):02}", "n": chance.randrange(-99, 99), "t": "ü'\\\"%"}
    return Said(kind, data, {"tenant": f"t{chance.randrange(3)}", "more": [chance.randrange(9)]})
