"""Folding events that arrive in key order, cut into batches of whole keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from refold.event import Event
from refold.key import Key, loaded_key, stored_key
from refold.projection import Projection, Row


@dataclass(frozen=True)
class Carry:
    """A key that is not finished yet: its row as of one of its events.

    Attributes:
        key: The key.
        position: The last event that is folded into the row.
        row: The row so far; None when there is none.
    """

    key: Key
    position: int
    row: Row | None


@dataclass
class Batch:
    """What one transaction writes.

    Attributes:
        rows: The rows of the finished keys, in key order.
        gone: The finished keys that are folded to no row.
        events: How many events were folded since the batch before.
        last_key: The highest finished key; None when none was finished.
        carry: The unfinished key, when the batch ends inside a key that is larger than a batch.
    """

    rows: list[Row] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)
    events: int = 0
    last_key: Key | None = None
    carry: Carry | None = None


class KeyOrderFold:
    """Folds records in key order, one key after another.

    A batch ends at the first key boundary at or after `batch_size` events. A key that alone has
    more than that is cut: the batch then carries its row so far, so that a crash costs at most one
    batch, however large a key is.

    Args:
        projection: Whose handlers fold.
        batch_size: Events a batch aims at.
        carry: The unfinished key to go on with, as a batch before left it.

    Attributes:
        batch_size: Events that a batch aims at; may be changed between two batches.
    """

    def __init__(self, projection: Projection, batch_size: int, carry: Carry | None = None) -> None:
        self._projection = projection
        self.batch_size = batch_size
        self._batch = Batch()
        self._key: Key | None = carry.key if carry else None
        self._stored_key: Any = _as_read(stored_key(carry.key)) if carry else None
        self._fields: Row = projection.key_fields(carry.key) if carry else {}
        self._row: Row | None = carry.row if carry else None
        self._key_events = 0

    def feed(self, events: Sequence[Sequence[Any]]) -> Iterator[Batch]:
        """Folds events (see `refold.source.reader.decoded`), yielding full batches.

        Raises:
            PoisonEvent: An event that a handler cannot take.
        """
        # The loop that a rebuild spends its time in: it does what `Projection.apply` does, with
        # fewer calls.
        projection, new, instant = self._projection, tuple.__new__, datetime.fromisoformat
        handlers, copied, settled = projection.handlers, projection.copier, projection.settled
        stored, fields, row = self._stored_key, self._fields, self._row
        counted = position = 0
        event: Any = None
        try:
            for position, stream_id, version, kind, data, metadata, at, key in events:
                if key != stored:
                    self._row = row
                    self._batch.events += counted
                    self._key_events = counted = 0
                    self._finish_key()
                    self._begin_key(key)
                    stored = key
                    fields, row = self._fields, None
                    if self._batch.events >= self.batch_size:
                        event = None
                        yield self._take()
                event = new(
                    Event, (position, stream_id, version, kind, data, metadata, instant(at))
                )
                before = None if row is None else copied(row)
                row = settled(row, handlers[kind](before, event), fields)
                counted += 1
                event = None
        except Exception as error:
            if event is None:
                raise
            raise projection.poison(event, error) from error
        self._row = row
        self._batch.events += counted
        self._key_events += counted
        if self._key_events >= self.batch_size:
            self._key_events = 0
            yield self._take(Carry(self._key, position, row))

    def _begin_key(self, stored: Any) -> None:
        self._stored_key = stored
        parts = stored if isinstance(stored, list) else [stored]
        self._key = loaded_key(self._projection.table, parts)
        self._fields = self._projection.key_fields(self._key)

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
        else:
            self._batch.gone.append(self._key)

    def _take(self, carry: Carry | None = None) -> Batch:
        batch, self._batch = self._batch, Batch(carry=None)
        batch.carry = carry
        return batch


def _as_read(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else parts
