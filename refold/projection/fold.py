"""How the events of a projection become its rows: their keys, the handlers, what a table holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table

from refold.errors import HandlerInterrupted, PoisonEvent
from refold.errors.words import described, raised, raised_at, said
from refold.event import Event, in_utc
from refold.projection.columns import Settle, WrongValue, is_mutable, settle_for
from refold.projection.columns.declared import check_table, scalar_default, written_columns
from refold.projection.columns.sizes import sizing
from refold.projection.key import Key, KeyDoesNotFit, KeyFunction
from refold.projection.keys.rule import KeyRule
from refold.projection.reading.does_not_fit import EventDoesNotFit
from refold.projection.reading.handlers import Handler, Row
from refold.projection.reading.key_fold import KeyFold

_NAMED = 5
"""Of the columns that a table has not, so many are named."""


class RowFold:
    """Folds the events of one projection into its rows, one event or many at a time.

    Args:
        name: The projection's name, for errors.
        table: Its table.
        key: Which row an event belongs to.
        handlers: The handler of each event type; more may be added later.

    Attributes:
        size: About how many bytes the large values of a row take; None where none can be large.

    Raises:
        InvalidProjection: The table has a column that cannot be written as handlers return it.
    """

    def __init__(
        self,
        name: str,
        table: Table,
        key: KeyRule,
        handlers: Mapping[str, Handler],
    ) -> None:
        self._name = name
        self._table_name = table.name
        self._handlers = handlers
        self._key_columns = tuple(str(c.name) for c in table.primary_key.columns)
        self._key = key
        written = written_columns(table)
        settles = {str(c.name): settle_for(c) for c in written}
        self._mutable = [str(c.name) for c in written if is_mutable(c) and not c.primary_key]
        check_table(table)
        self._names = frozenset(settles)
        self._key_settle = [settles.pop(name) for name in self._key_columns]
        self._settles: dict[str, Settle] = settles
        defaults = {str(c.name): scalar_default(c) for c in written}
        self._columns = [(name, settle, defaults[name]) for name, settle in settles.items()]
        self.size: Callable[[Row], int] | None = sizing(written)
        self.copier: Callable[[Row], Row] = self.copied if self._mutable else dict.copy

    def keys_of(self, event: Event) -> list[Key]:
        """The keys of the rows that the event belongs to; empty when it is skipped.

        Raises:
            PoisonEvent: A value cannot become a key, or the key function raised.
        """
        try:
            if self._key.parts is None:
                assert self._key.function is not None
                return self._called_keys(self._key.function(event))
            parts = [part.of(event) for part in self._key.parts]
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            raise self.poison(event, error) from error
        if None in parts:
            return []
        return [parts[0] if len(parts) == 1 else tuple(parts)]

    @property
    def quick_key(self) -> tuple[KeyFunction, Settle] | None:
        """The function that makes a key of one column, and what settles that; None for others.

        It is for loops over many events: what the function gives, unless it is None or a list, is
        settled to the key. `keys_of` has the answer for all that goes another way.
        """
        function = self._key.function
        if function is None or len(self._key_settle) != 1:
            return None
        return function, self._key_settle[0]

    @property
    def key_is_stream(self) -> bool:
        """Whether the key is just the event's stream, for all event types."""
        (first, *others) = self._key.parts or (None,)
        return first is not None and first.is_stream and not others

    @property
    def key_function(self) -> KeyFunction | None:
        """The function that makes the key, if one does."""
        return self._key.function

    def _called_keys(self, called: Any) -> list[Key]:
        if called is None:
            return []
        keys = called if isinstance(called, list) else [called]
        return list(dict.fromkeys(self._settled_key(key) for key in keys))

    def _settled_key(self, key: Any) -> Key:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) != len(self._key_columns):
            raise KeyDoesNotFit(
                f"key function: expected {len(self._key_columns)} part(s) for "
                f"({', '.join(self._key_columns)}), got {described(key)}"
            )
        settled = [settle(part) for settle, part in zip(self._key_settle, parts, strict=True)]
        return settled[0] if len(settled) == 1 else tuple(settled)

    def key_fields(self, key: Key) -> Row:
        """The key columns of a row, by name."""
        if len(self._key_columns) == 1:
            return {self._key_columns[0]: key}
        return dict(zip(self._key_columns, key, strict=True))

    def apply(self, row: Row | None, event: Event, key_fields: Row) -> Row | None:
        """The row after the event, exactly as the table would hold it.

        Raises:
            PoisonEvent: The handler raised, or returned what the table cannot hold.
        """
        try:
            before = None if row is None else self.copied(row)
            return self.settled(row, self._handlers[event.type](before, event), key_fields)
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            raise self.poison(event, error) from error

    def apply_at_once(
        self, row: Row | None, events: list[Event], key_fields: Row, fold: KeyFold
    ) -> Row | None:
        """The row after some events of its key, exactly as the table would hold it.

        Raises:
            Exception: Whatever the function raises, or what its row's columns do not take. Which
                event it is for is found by `apply`, one by one.
        """
        given = fold.given(events)
        if not given:
            return row
        before = None if row is None else self.copied(row)
        return self.settled(row, fold.function(before, given), key_fields)

    def copied(self, row: Row) -> Row:
        """A copy: a handler that changes its argument must not change what was settled."""
        copied = row.copy()
        for name in self._mutable:
            if copied[name] is not None:
                copied[name] = self._settles[name](copied[name])
        return copied

    def settled(self, row: Row | None, after: Any, key_fields: Row) -> Row | None:
        """What a handler returned, as the table would hold it; None for no row.

        Args:
            row: The settled row that the handler was given a copy of.
            after: What it returned.
            key_fields: The key columns.

        Raises:
            WrongValue: The table cannot hold it.
        """
        if after is None:
            return None
        if not isinstance(after, dict):
            raise WrongValue(f"handler: expected a dict or None, got {type(after).__name__}")
        if row is None or len(after) != len(row):
            return self._completed(after, key_fields)
        # The handler returned all columns: the usual case, fast.
        stored, settles = after, self._settles
        for name, value in after.items():
            if name not in row:
                raise self._unknown(after)
            before = row[name]
            # The very same object as before is settled already; most columns are. One that can
            # change in place never is the same: the handler was given a copy.
            if value is not before:
                settled = settles[name](value) if name in settles else before
                if settled is not value:
                    if stored is after:  # it may be the handler's own, to be left as it is
                        stored = after.copy()
                    stored[name] = settled
        return stored

    def _completed(self, after: Row, key_fields: Row) -> Row:
        """The settled row, whatever columns the handler returned; those left out get defaults."""
        if not after.keys() <= self._names:
            raise self._unknown(after)
        stored = key_fields.copy()
        for name, settle, default in self._columns:
            stored[name] = settle(after.get(name, default))
        return stored

    def _unknown(self, after: Row) -> WrongValue:
        names = [name for name in after if name not in self._names]
        unknown = sorted(
            name if isinstance(name, str) else f"{name!r:.50} ({type(name).__name__}, expected str)"
            for name in names[:_NAMED]
        )
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return WrongValue(f"table {self._table_name!r} has no column {', '.join(unknown)}{more}")

    def fold(self, events: Iterable[Event], *, since: datetime | None) -> dict[Key, Row]:
        """The rows of these events, in plain Python, without a database.

        Args:
            events: In order of position; types without a handler are passed over.
            since: Events recorded before this moment are passed over too; None for none.

        Raises:
            PoisonEvent: An event that a handler or the key cannot take.
        """
        rows: dict[Key, Row] = {}
        for event in self._handled(events, since):
            for key in self.keys_of(event):
                after = self.apply(rows.get(key), event, self.key_fields(key))
                if after is None:
                    rows.pop(key, None)
                else:
                    rows[key] = after
        return rows

    def _handled(self, events: Iterable[Event], since: datetime | None) -> Iterator[Event]:
        return (
            in_utc(event)
            for event in events
            if event.type in self._handlers and (since is None or event.recorded_at >= since)
        )

    def poison(self, event: Event, error: BaseException) -> PoisonEvent:
        """The error that names this event as one that the projection cannot take."""
        known = isinstance(error, (WrongValue, KeyDoesNotFit, EventDoesNotFit))
        reason = said(error) if known else raised(error)
        if not known and (place := raised_at(error)) is not None:
            reason = f"{reason} (at {place})"
        return PoisonEvent(self._name, event.position, event.type, event.stream_id, reason)
