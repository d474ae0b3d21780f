"""Folding events that arrive in key order, cut into batches of whole keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from refold.errors import HandlerInterrupted, UnreadableEvent
from refold.event import Event
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key, key_loader, stored_key
from refold.projection.narrowed.sent_event import WHOLE, Sent
from refold.runtime.threads import PIECE_SECONDS, Hand
from refold.source.portions import BATCH_BYTES


@dataclass(frozen=True)
class Carry:
    """A key that is not finished yet: its row as of one of its events.

    Attributes:
        key: The key.
        position: The last event that is folded into the row, or passed over.
        row: The row so far; None when there is none.
        held: The poison event that holds the key, if one does: its later events are passed over.
    """

    key: Key
    position: int
    row: Row | None
    held: Letter | None = None


@dataclass
class Batch:
    """What one transaction writes.

    Attributes:
        rows: The rows of the finished keys, in key order.
        gone: The finished keys that are folded to no row.
        events: How many events were folded since the batch before.
        last_key: The highest finished key; None when none was finished.
        carry: The unfinished key, when the batch ends inside a key that is larger than a batch.
        letters: The poison events that hold finished keys; these keys are folded up to there.
        size: About how many bytes the rows take, as far as they may be large.
    """

    rows: list[Row] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)
    events: int = 0
    last_key: Key | None = None
    carry: Carry | None = None
    letters: list[Letter] = field(default_factory=list)
    size: int = 0


class KeyOrderFold:
    """Folds records in key order, one key after another.

    A batch ends at the first key boundary at or after `batch_size` events, or `BATCH_BYTES` of
    events or of rows. It ends
    within a key, too: with a chunk that completes it, so that a chunk of its size is one batch, or
    when it has taken its time. Then it carries the key's row so far. So a crash costs at most one
    batch, however large a key or slow a handler is.

    Args:
        projection: Whose handlers fold.
        batch_size: Events a batch aims at.
        carry: The unfinished key to go on with, as a batch before left it.
        sets_aside: Whether a poison event holds its key, rather than ending all.
        batch_seconds: A batch ends after so many seconds.
        sent: What is sent of each event.

    Attributes:
        batch_size: Events that a batch aims at; may be changed between two batches.
        hand: The event in hand, and whether the batch has taken its time.
        is_fed: Whether all of the chunk that was fed last is folded: no other batch comes of it.
    """

    def __init__(
        self,
        projection: Projection,
        batch_size: int,
        carry: Carry | None = None,
        *,
        sets_aside: bool = False,
        batch_seconds: float = PIECE_SECONDS,
        sent: Sent = WHOLE,
    ) -> None:
        self._projection = projection
        self._sent = sent
        self._load_key = key_loader(projection.table)
        self._size = projection.rows.size
        self.batch_size = batch_size
        self.hand = Hand(projection.name, batch_seconds)
        self._batch = Batch()
        self._key: Key | None = carry.key if carry else None
        self._stored_key: Any = _as_read(stored_key(carry.key)) if carry else None
        self._fields: Row = projection.rows.key_fields(carry.key) if carry else {}
        self._row: Row | None = carry.row if carry else None
        self._sets_aside = sets_aside
        self._held: Letter | None = carry.held if carry else None
        self.is_fed = True

    def feed(self, events: Iterable[Sequence[Any]]) -> Iterator[Batch]:
        """Folds a chunk of events (see `refold.source.decoding.decoded`), yielding full batches.

        Raises:
            PoisonEvent: An event that a handler cannot take.
            ReadsMore: A handler has asked for more than is sent. No batch that it has spoilt is
                yielded.
        """
        self.is_fed = False
        return self._fed(events)

    def _fed(self, events: Iterable[Sequence[Any]]) -> Iterator[Batch]:
        # The loop that a rebuild spends its time in: it does what `Projection.apply` does, with
        # fewer calls. What is rare, a poison event, leaves it and comes back.
        rows, new, instant = self._projection.rows, tuple.__new__, datetime.fromisoformat
        handlers, copied, settled = self._projection.handlers, rows.copier, rows.settled
        stored, fields, row, hand = self._stored_key, self._fields, self._row, self.hand
        made, (type_at, timed_at, key_at, cut) = self._sent.event, self._sent.places
        counted, position = 0, 0
        event: Any = None
        record: Any = ()
        source: Iterator[Any] = iter(events)
        if self._held is not None:
            source, counted, position = after_key(source, stored, position, key_at)
        while True:
            try:
                for record in source:
                    key, position = record[key_at], record[0]
                    if key != stored:
                        self._row = row
                        self._batch.events += counted
                        counted = 0
                        self._finish_key()
                        self._begin_key(key)
                        stored = key
                        fields, row = self._fields, None
                        if self._is_full():
                            event = None
                            yield self._take()
                    if timed_at:
                        record[timed_at] = instant(record[timed_at])
                    event = hand.event = new(made, record[:cut] if cut else record)
                    before = None if row is None else copied(row)
                    row = settled(row, handlers[record[type_at]](before, event), fields)
                    counted += 1
                    event = None
                    if hand.due:
                        hand.event = None
                        self._batch.events += counted
                        counted = 0
                        yield self._take(Carry(self._key, position, row))
                break
            except BaseException as error:  # `exit()` in a handler is no end of ours
                if event is None or isinstance(error, HandlerInterrupted):
                    raise _unread(error, record, timed_at) from None
                self._hold(event, error)
            event = None
            source, passed, position = after_key(source, stored, position, key_at)
            counted += 1 + passed
        hand.event = None
        self._row = row
        self._batch.events += counted
        self.is_fed = True
        if hand.due or self._is_full():
            yield self._take(Carry(self._key, position, row, self._held))

    def _hold(self, event: Event, error: BaseException) -> None:
        """The event holds its key.

        Raises:
            PoisonEvent: It is not set aside.
            ReadsMore: It is no poison: it was not sent as a whole.
        """
        self._sent.require_enough()
        poison = self._projection.rows.poison(event, error)
        if not self._sets_aside:
            raise poison from error
        self._held = Letter.of(poison, error, key=self._key)

    def _begin_key(self, stored: Any) -> None:
        self._stored_key = stored
        self._key = self._load_key(stored if isinstance(stored, list) else [stored])
        self._fields = self._projection.rows.key_fields(self._key)

    def finish(self) -> Batch:
        """The last batch: the key in hand is finished, as there are no more records."""
        self._finish_key()
        self._key = self._stored_key = None
        return self._take()

    def _finish_key(self) -> None:
        if self._key is None:
            return
        self._batch.last_key = self._key
        if self._row is not None:
            self._batch.rows.append(self._row)
            if self._size is not None:
                self._batch.size += self._size(self._row)
        else:
            self._batch.gone.append(self._key)
        if self._held is not None:
            self._batch.letters.append(self._held)
            self._held = None

    def _is_full(self) -> bool:
        """Whether the batch is to end, now or with the key in hand."""
        batch = self._batch
        return (
            batch.events >= self.batch_size
            or self.hand.size >= BATCH_BYTES
            or batch.size >= BATCH_BYTES
        )

    def _take(self, carry: Carry | None = None) -> Batch:
        self._sent.require_enough()
        batch, self._batch = self._batch, Batch(carry=None)
        batch.carry = carry
        return batch


def _unread(error: BaseException, record: Sequence[Any], timed_at: int) -> BaseException:
    if isinstance(error, ValueError) and timed_at and record:
        return UnreadableEvent.timed(record[0], record[timed_at])
    return error


def after_key(
    records: Iterator[Sequence[Any]], key: Any, position: int, key_at: int
) -> tuple[Iterator[Sequence[Any]], int, int]:
    """Passes over the records of a key.

    Returns:
        The records after them, how many they were, and the position of the last one; the given
        position when there was none.
    """
    passed = 0
    for record in records:
        if record[key_at] != key:
            return chain([record], records), passed, position
        passed += 1
        position = record[0]
    return iter(()), passed, position


def _as_read(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else parts
