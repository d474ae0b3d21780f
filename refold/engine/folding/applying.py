"""A batch of events in order of position: their keys, and what they make of the rows of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from refold.engine.folding.moments import Moments
from refold.errors import PoisonEvent
from refold.event import Event
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.requests.poison_policy import Poison
from refold.runtime.threads import Hand
from refold.source.reader import as_events


@dataclass
class Keyed:
    """Events in order, each with its keys, and the JSON that they were made of."""

    texts: Sequence[str] = ()
    events: list[Event] = field(default_factory=list)
    keys: list[list[Key]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    @property
    def all_keys(self) -> list[Key]:
        """Each key once."""
        return list(dict.fromkeys(chain.from_iterable(self.keys)))


@dataclass
class Applied:
    """How many events have been applied, and to which keys: up to which position."""

    events: int = 0
    keys: dict[Key, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)


@dataclass(frozen=True)
class Applying:
    """Calls people's code, in a thread.

    Attributes:
        projection: Whose handlers apply.
        poison: What is done with poison events.
        moments: With which events a batch ends.
    """

    projection: Projection
    poison: Poison
    moments: Moments

    def keyed(self, texts: Sequence[str], hand: Hand) -> Keyed:
        """The events with their keys, and those whose key does not fit, if they are set aside."""
        keyed = Keyed(texts)
        handlers, keys_of = self.projection.handlers, self.projection.rows.keys_of
        triggers = self.projection.snapshots.trigger_on
        events, kept = keyed.events.append, keyed.keys.append
        for event in hand.each(as_events(texts)):
            keys: list[Key] = []
            try:
                # One without a handler only makes a snapshot due.
                if event.type in handlers:
                    keys = keys_of(event)
            except PoisonEvent as poison:
                keyed.letters.append(self.letter(poison, None))
            events(event)
            kept(keys)
            if hand.due or (triggers and self.moments.is_trigger(event)):
                break
        return keyed

    def applied(
        self, keyed: Keyed, current: dict[Key, Row | None], held: set[Key], hand: Hand
    ) -> Applied:
        """Applies events to the rows of their keys, as many as there is time for."""
        applied = Applied()
        apply, key_fields = self.projection.rows.apply, self.projection.rows.key_fields
        upto = applied.keys
        for event, keys in zip(keyed.events, keyed.keys, strict=True):
            for key in keys:
                if key in held:
                    continue
                hand.begin(event)
                try:
                    current[key] = apply(current[key], event, key_fields(key))
                except PoisonEvent as poison:
                    applied.letters.append(self.letter(poison, key))
                    held.add(key)
                else:
                    upto[key] = event.position
            applied.events += 1
            if hand.due:
                break
        hand.event = None
        return applied

    def letter(self, poison: PoisonEvent, key: Key | None) -> Letter:
        """What becomes of a poison event; it is raised where none is set aside."""
        if not self.poison.sets_aside:
            raise poison
        return Letter.of(poison, key=key)
