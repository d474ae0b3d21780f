"""Events of a batch with their keys, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from refold.dead_letters import Letter
from refold.event import Event
from refold.key import Key


@dataclass
class Keyed:
    """Events in order, each with its keys."""

    events: list[Event] = field(default_factory=list)
    keys: list[list[Key]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    @property
    def all_keys(self) -> list[Key]:
        """Each key once."""
        return list(dict.fromkeys(key for keys in self.keys for key in keys))


@dataclass
class Applied:
    """How many events have been applied, and to which keys: up to which position."""

    events: int = 0
    keys: dict[Key, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
