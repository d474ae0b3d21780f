"""Folding events that arrive in key order by a function that takes many of a key at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any, Self

from refold.engine.folding.key_order import Batch, Carry, KeyOrderFold, after_key
from refold.errors import HandlerInterrupted, UnreadableEvent
from refold.errors.words import raised
from refold.event import Event
from refold.projection.declaration import Projection, Row

# A key's events are kept until they are folded: so many bytes of them, as JSON, whatever comes.
_BYTES_AT_ONCE = 1 << 18
# A call should not take much longer than this: then a run that is paused is not waited for.
_CALL_SECONDS = 0.1
_FEW, _MANY = 32, 8192


class TakesNotAtOnce(Exception):
    """The function raised with several events: they are to be folded one by one, from the last
    commit on, which finds the event that it cannot take.
    """

    @classmethod
    def of(cls, projection: Projection, events: Sequence[Event], error: BaseException) -> Self:
        """The error for a call with some events of a key."""
        return cls(
            f"projection {projection.name}: fold_key() raised {raised(error)} for {len(events)} "
            f"event(s) of one key, from position {events[0].position} to {events[-1].position}: "
            "they are folded one by one, from the last commit on"
        )


class KeysAtOnceFold(KeyOrderFold):
    """Folds records in key order, as `KeyOrderFold` does, with one call for a key's events.

    A key is called with more than once where its events are many or large, where a chunk ends
    within it, and where a call takes long. What the function raises ends the work: see
    `TakesNotAtOnce`.
    """

    _most = _FEW

    def _fed(self, events: Iterable[Sequence[Any]]) -> Iterator[Batch]:
        new, instant = tuple.__new__, datetime.fromisoformat
        stored, row, hand = self._stored_key, self._row, self.hand
        made, (_, timed_at, key_at, cut) = self._sent.event, self._sent.places
        taken: list[Event] = []
        counted, position = 0, 0
        source: Iterator[Any] = iter(events)
        if self._held is not None:
            source, counted, position = after_key(source, stored, position, key_at)
        most, size = self._most, hand.size
        for record in source:
            key = record[key_at]
            if key != stored:
                if taken:
                    row = self._folded(row, taken)
                    counted += len(taken)
                    taken, size = [], hand.size
                self._row = row
                self._batch.events += counted
                counted = 0
                self._finish_key()
                self._begin_key(key)
                stored, row = key, None
                if hand.due or self._is_full():
                    yield self._take()
                    size = hand.size
            position = record[0]
            if timed_at:
                try:
                    record[timed_at] = instant(record[timed_at])
                except ValueError:
                    raise UnreadableEvent.timed(position, record[timed_at]) from None
            taken.append(new(made, record[:cut] if cut else record))
            if len(taken) >= most or hand.size - size > _BYTES_AT_ONCE:
                row = self._timed(row, taken)
                counted += len(taken)
                taken, size, most = [], hand.size, self._most
                if hand.due:
                    self._batch.events += counted
                    counted = 0
                    yield self._take(Carry(self._key, position, row))
                    size = hand.size
        if taken:
            row = self._folded(row, taken)
            counted += len(taken)
        self._row = row
        self._batch.events += counted
        self.is_fed = True
        if hand.due or self._is_full():
            yield self._take(Carry(self._key, position, row, self._held))

    def _timed(self, row: Row | None, events: list[Event]) -> Row | None:
        began = perf_counter()
        after = self._folded(row, events)
        took = perf_counter() - began
        if took > _CALL_SECONDS:
            self._most = max(1, self._most // 2)
        elif took < _CALL_SECONDS / 4:
            self._most = min(_MANY, 2 * self._most)
        return after

    def _folded(self, row: Row | None, events: list[Event]) -> Row | None:
        projection, hand = self._projection, self.hand
        assert projection.key_fold is not None
        hand.begin(events[0])
        try:
            after = projection.rows.apply_at_once(row, events, self._fields, projection.key_fold)
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            self._sent.require_enough()
            raise TakesNotAtOnce.of(projection, events, error) from None
        hand.event = None
        return after


def key_order_fold(projection: Projection, *, one_by_one: bool) -> type[KeyOrderFold]:
    """What folds a projection's events in key order: at once, where it has a function for that.

    Args:
        projection: The projection.
        one_by_one: Whether its events are to be folded one by one all the same.
    """
    return KeyOrderFold if projection.key_fold is None or one_by_one else KeysAtOnceFold
