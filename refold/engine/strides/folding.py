"""The events of one long transaction, folded into rows as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from refold.errors import HandlerInterrupted, PoisonEvent, UnreadableEvent
from refold.event import Event
from refold.projection.declaration import Handler, Projection, Row
from refold.projection.key import Key
from refold.projection.narrowed.sent_event import Sent
from refold.runtime.threads import Hand
from refold.source.decoding import decoded
from refold.source.port.current import event_source
from refold.source.portions import position_of

# Of so many keys of a portion the rows are measured; the others are taken to be as large.
_MEASURED = 4


@dataclass
class Keyed:
    """Events in order, each with its keys.

    Attributes:
        events: The events.
        keys: The key of each; a list where it has none or several.
        lists: Whether there are such lists.
        all: Whether they are all events of their portion.
    """

    events: list[Event] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    lists: bool = False
    all: bool = True

    def each(self) -> Iterator[list[Key]]:
        """The keys of each event, as a list."""
        return (keys if isinstance(keys, list) else [keys] for keys in self.keys)


class StrideFold:
    """Folds portions of events into the rows of their keys; people's code is called in a thread.

    It ends before the first event that cannot be folded. What becomes of that one is for a batch
    that knows all about it (`refold.engine.folding.applying`).

    Args:
        projection: Whose handlers fold.
        sent: What is sent of each event.
        hand: The event in hand, and when to end.
        position: The checkpoint.

    Attributes:
        position: Up to here (inclusive) all is folded.
        events: How many events are folded.
        ends_at: The position of the event that it ends before; None as long as there is none.
        before: The rows as the table has them, by key; None for those that it has not.
        current: The rows as they have become.
        held: Keys that a dead letter holds: their events are passed over.
        size: About how many bytes the rows have.
    """

    def __init__(self, projection: Projection, sent: Sent, hand: Hand, position: int) -> None:
        self._rows = projection.rows
        self._handlers = projection.handlers
        self._sent = sent
        self._by = event_source().is_own and self._rows.key_is_stream
        self.hand = hand
        self.position = position
        self.events = 0
        self.ends_at: int | None = None
        self.before: dict[Key, Row | None] = {}
        self.current: dict[Key, Row | None] = {}
        self.held: set[Key] = set()
        self.size = 0

    def keyed(self, texts: Sequence[str]) -> Keyed:
        """Decodes events, and makes their keys, as far as there is time.

        Raises:
            ReadsMore: A key function has asked for more of an event than is sent.
        """
        keyed = Keyed()
        add_event, add_key, keys_of = keyed.events.append, keyed.keys.append, self._rows.keys_of
        made, (_, timed_at, _, _) = self._sent.event, self._sent.places
        new, instant, hand, by_stream = tuple.__new__, datetime.fromisoformat, self.hand, self._by
        try:
            for record in decoded(texts):
                if timed_at:
                    record[timed_at] = instant(record[timed_at])
                event = hand.event = new(made, record)
                if by_stream:
                    add_key(record[1])
                else:
                    keys = keys_of(event)
                    add_key(keys[0] if len(keys) == 1 else keys)
                    if len(keys) != 1:
                        keyed.lists = True
                add_event(event)
                if hand.due:
                    break
        except (PoisonEvent, UnreadableEvent, ValueError):
            # A batch that meets it again says what is wrong.
            self._sent.require_enough()
            self.ends_at = position_of(texts[len(keyed.events)])
        hand.event = None
        self._sent.require_enough()
        keyed.all = len(keyed.events) == len(texts)
        return keyed

    def new(self, keyed: Keyed) -> list[Key]:
        """The keys of these events whose rows are not known yet, each once."""
        known, held = self.before, self.held
        once = dict.fromkeys(chain.from_iterable(keyed.each()) if keyed.lists else keyed.keys)
        return [key for key in once if key not in known and key not in held]

    def know(self, keys: Sequence[Key], rows: Mapping[Key, Row]) -> None:
        """Takes the rows of new keys in, as the table has them."""
        found = {key: rows.get(key) for key in keys}
        self.before.update(found)
        self.current.update(found)

    def fold(self, keyed: Keyed, upto: int) -> None:
        """Folds a portion's events, as far as there is time.

        Args:
            keyed: The events; the rows of their keys are known.
            upto: Where the portion ends.

        Raises:
            ReadsMore: A handler has asked for more of an event than is sent. Nothing of what was
                folded may be used.
        """
        done = self._fold(keyed)
        self._sent.require_enough()
        self._measure(keyed.keys[:done])
        self.events += done
        if keyed.all and done == len(keyed.events):
            self.position = upto
        elif done:
            self.position = keyed.events[done - 1].position

    def _fold(self, keyed: Keyed) -> int:
        # As in a rebuild's loop: what `Projection.apply` does, with fewer calls.
        rows, hand, current, held = self._rows, self.hand, self.current, self.held
        handlers, copied, settled = self._handlers, rows.copier, rows.settled
        fields_of = rows.key_fields
        by_one = not (keyed.lists or held)
        done = 0
        for event, key in zip(keyed.events, keyed.keys, strict=True):
            hand.event = event
            try:
                handler = handlers[event.type]
                if by_one:
                    row = current[key]
                    if row is None:
                        current[key] = settled(None, handler(None, event), fields_of(key))
                    else:  # it has the key's columns
                        current[key] = settled(row, handler(copied(row), event), row)
                else:
                    self._fold_each(event, handler, key if isinstance(key, list) else [key])
            except HandlerInterrupted:
                raise
            except BaseException:  # `exit()` in a handler is no end of ours
                self._sent.require_enough()
                self.ends_at = event.position
                break
            done += 1
            if hand.due:
                break
        hand.event = None
        return done

    def _fold_each(self, event: Event, handler: Handler, keys: Sequence[Key]) -> None:
        """Folds an event into the rows of all its keys, or of none."""
        rows, current = self._rows, self.current
        made: dict[Key, Row | None] = {}
        for key in keys:
            if key in self.held:
                continue
            self.hand.begin(event)
            row = current[key]
            after = handler(None if row is None else rows.copier(row), event)
            made[key] = rows.settled(row, after, rows.key_fields(key))
        current.update(made)

    def _measure(self, keys: Sequence[Any]) -> None:
        """Adds what the rows of these events' keys are about to take."""
        step = max(1, len(keys) // _MEASURED)
        some = [key for key in keys[::step][:_MEASURED] if not isinstance(key, list)]
        sizes = [len(str(self.current.get(key))) for key in some]
        if sizes:
            self.size = max(self.size, len(self.current) * sum(sizes) // len(sizes))
