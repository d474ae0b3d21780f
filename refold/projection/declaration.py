"""A projection: a name, a version, a table, a key, and pure handlers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Table

from refold.errors import HandlerInterrupted, InvalidProjection, PoisonEvent
from refold.errors.words import described, raised, said
from refold.event import Event, in_utc
from refold.projection.backfill_policy import BackfillPolicy, backfill_from, backfill_from_beginning
from refold.projection.checkpoints import Checkpoints, as_checkpoints
from refold.projection.columns import Settle, WrongValue, is_mutable, settle_for
from refold.projection.columns.declared import check_table, scalar_default, written_columns
from refold.projection.key import Key, KeyDoesNotFit, KeyFunction, KeyPath, key_paths
from refold.projection.schemas import require_own_place
from refold.projection.snapshot_policy import Snapshots
from refold.system_events.events import SystemEvent
from refold.system_events.handlers import Handle, SystemHandler, on_system_event

Row = dict[str, Any]
"""One row of a read model: column name to value, key columns included."""

Handler = Callable[[Row | None, Event], Row | None]
"""The row so far (None: there is none) and an event in; the row after (None: delete it) out."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NAMED = 5
"""Of the columns that a table has not, so many are named."""


class Projection:
    """A read model's declaration: how its rows follow from the events.

    Args:
        name: ``[a-z][a-z0-9-]*``, at most 40 characters; unique among the registered projections.
        version: From 1; bump it when the handlers' meaning or the table changes.
        table: A SQLAlchemy Core table. Its primary key is the projection's key.
        key: Which row an event belongs to: ``"stream_id"``, a dotted path (``"data.sku"``), a
            tuple of these for a composite key, or a function ``event -> key | list of keys |
            None`` (None: the event is skipped).
        backfill: Defaults for backfills and rebuilds of this projection.
        checkpoints: How often its checkpoint is moved while it is live.
        snapshots: When it makes snapshots by itself; never when left out.

    Raises:
        InvalidProjection: The declaration cannot work; the message says why.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        table: Table,
        key: str | tuple[str, ...] | KeyFunction,
        backfill: BackfillPolicy | None = None,
        checkpoints: Checkpoints | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidProjection(
                f"name: expected [a-z][a-z0-9-]*, at most 40 characters, got {name!r}"
            )
        if version < 1:
            raise InvalidProjection(f"{name}: version: expected 1 or more, got {version}")
        if not table.primary_key.columns:
            raise InvalidProjection(
                f"{name}: table {table.name!r} needs a primary key: it is the projection's key"
            )
        require_own_place(name, table)
        if table.primary_key.deferrable:
            raise InvalidProjection(
                f"{name}: table {table.name!r}: expected a primary key that is checked at once, "
                "got a deferrable one: rows are put in the place of those with the same key"
            )
        self.name = name
        self.version = version
        self.table = table
        self.backfill = backfill or BackfillPolicy()
        self.checkpoints = checkpoints or Checkpoints()
        self.snapshots = snapshots or Snapshots.none()
        self.key_columns: tuple[str, ...] = tuple(str(c.name) for c in table.primary_key.columns)
        self.key_paths: tuple[KeyPath, ...] | None = None
        self._key_function: KeyFunction | None = None
        if callable(key):
            self._key_function = key
        else:
            self.key_paths = key_paths(key, table)
        self.handlers: dict[str, Handler] = {}
        self.system_handlers: list[SystemHandler] = []
        try:
            written = written_columns(table)
            settles = {str(c.name): settle_for(c) for c in written}
            self._mutable = [str(c.name) for c in written if is_mutable(c) and not c.primary_key]
            check_table(table)
        except InvalidProjection as wrong:
            raise InvalidProjection(f"{name}: {wrong}") from None
        self._names = frozenset(settles)
        self._key_settle = [settles.pop(name) for name in self.key_columns]
        self._settles: dict[str, Settle] = settles
        self.copier: Callable[[Row], Row] = self.copied if self._mutable else dict.copy
        self._defaults = {str(c.name): scalar_default(c) for c in written if c.name in settles}

    def __repr__(self) -> str:
        return f"Projection({self.name!r}, version={self.version})"

    def on(self, *event_types: str) -> Callable[[Handler], Handler]:
        """Registers the decorated function as the handler of these event types.

        Raises:
            InvalidProjection: No type is given, a type has a handler already, or the function is
                asynchronous (handlers are pure).
        """
        if not event_types:
            raise InvalidProjection(f"{self.name}: on(): expected at least one event type")

        def register(handler: Handler) -> Handler:
            if inspect.iscoroutinefunction(handler):
                raise InvalidProjection(
                    f"{self.name}: handler {handler.__name__!r}: expected a plain function, got an "
                    "async one: handlers are pure"
                )
            for event_type in event_types:
                if event_type in self.handlers:
                    raise InvalidProjection(f"{self.name}: {event_type!r} has a handler already")
                self.handlers[event_type] = handler
            return handler

        return register

    def on_system_event(
        self, *events: type[SystemEvent], max_attempts: int = 10
    ) -> Callable[[Handle], SystemHandler]:
        """Makes the decorated function a handler of these system events of this projection.

        Unlike handlers of events it is run outside of any transaction, and may have effects: see
        `refold.on_system_event`.

        Raises:
            InvalidProjection: No type is given, or something that is none.
        """
        made = on_system_event(*events, projection=self.name, max_attempts=max_attempts)

        def register(handle: Handle) -> SystemHandler:
            handler = made(handle)
            self.system_handlers.append(handler)
            return handler

        return register

    def with_checkpoints(
        self, checkpoints: Checkpoints | None = None, **settings: Any
    ) -> Projection:
        """Sets how often the checkpoint is moved; returns the projection.

        Args:
            checkpoints: The settings; the projection's own when left out.
            **settings: Those of `Checkpoints` that are to be otherwise.
        """
        self.checkpoints = as_checkpoints(checkpoints or self.checkpoints, settings)
        return self

    def with_snapshots(self, snapshots: Snapshots) -> Projection:
        """Sets when snapshots are made; returns the projection."""
        self.snapshots = snapshots
        return self

    def backfill_from_beginning(self, **settings: Any) -> Projection:
        """Lets it build itself from all events when a worker first sees it; returns it.

        Args:
            **settings: More of `BackfillPolicy`; its other settings stay.
        """
        return self._with_backfill(backfill_from_beginning(start_from=None, **settings))

    def backfill_from(self, start: datetime | str, **settings: Any) -> Projection:
        """Lets it build itself from the events since a date; returns it.

        Args:
            start: The first moment (inclusive): an aware datetime, or RFC 3339.
            **settings: More of `BackfillPolicy`; its other settings stay.
        """
        return self._with_backfill(backfill_from(start, **settings))

    def _with_backfill(self, policy: BackfillPolicy) -> Projection:
        both = (self.backfill, policy)
        given = {name: getattr(one, name) for one in both for name in one.model_fields_set}
        self.backfill = BackfillPolicy(**given)
        return self

    @property
    def start_from(self) -> datetime | None:
        """Events recorded before this moment are in no fold; None for the beginning of the log."""
        return self.backfill.start_from

    @property
    def event_types(self) -> list[str]:
        """The event types that are read, sorted."""
        return sorted(self.handlers)

    def keys_of(self, event: Event) -> list[Key]:
        """The keys of the rows that the event belongs to; empty when it is skipped.

        Raises:
            PoisonEvent: A value cannot become a key, or the key function raised.
        """
        try:
            if self._key_function is not None:
                return self._called_keys(self._key_function(event))
            assert self.key_paths is not None
            parts = [path.of(event) for path in self.key_paths]
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            raise self.poison(event, error) from error
        if None in parts:
            return []
        return [parts[0] if len(parts) == 1 else tuple(parts)]

    def _called_keys(self, called: Any) -> list[Key]:
        if called is None:
            return []
        keys = called if isinstance(called, list) else [called]
        return list(dict.fromkeys(self._settled_key(key) for key in keys))

    def _settled_key(self, key: Any) -> Key:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) != len(self.key_columns):
            raise KeyDoesNotFit(
                f"key function: expected {len(self.key_columns)} part(s) for "
                f"({', '.join(self.key_columns)}), got {described(key)}"
            )
        settled = [settle(part) for settle, part in zip(self._key_settle, parts, strict=True)]
        return settled[0] if len(settled) == 1 else tuple(settled)

    def key_fields(self, key: Key) -> Row:
        """The key columns of a row, by name."""
        if len(self.key_columns) == 1:
            return {self.key_columns[0]: key}
        return dict(zip(self.key_columns, key, strict=True))

    def apply(self, row: Row | None, event: Event, key_fields: Row) -> Row | None:
        """The row after the event, exactly as the table would hold it.

        Raises:
            PoisonEvent: The handler raised, or returned what the table cannot hold.
        """
        try:
            before = None if row is None else self.copied(row)
            return self.settled(row, self.handlers[event.type](before, event), key_fields)
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            raise self.poison(event, error) from error

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
        for name, settle in self._settles.items():
            value = after[name] if name in after else self._defaults.get(name)
            stored[name] = settle(value)
        return stored

    def _unknown(self, after: Row) -> WrongValue:
        names = [name for name in after if name not in self._names]
        unknown = sorted(
            name if isinstance(name, str) else f"{name!r:.50} ({type(name).__name__}, expected str)"
            for name in names[:_NAMED]
        )
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return WrongValue(f"table {self.table.name!r} has no column {', '.join(unknown)}{more}")

    def fold(self, events: Iterable[Event]) -> dict[Key, Row]:
        """The read model of these events in plain Python, without a database: the oracle.

        Args:
            events: In order of position; types without a handler are passed over, and so are
                events recorded before the projection's `start_from`.

        Raises:
            PoisonEvent: An event that a handler or the key cannot take.
        """
        rows: dict[Key, Row] = {}
        for event in self._handled(events):
            for key in self.keys_of(event):
                after = self.apply(rows.get(key), event, self.key_fields(key))
                if after is None:
                    rows.pop(key, None)
                else:
                    rows[key] = after
        return rows

    def _handled(self, events: Iterable[Event]) -> Iterator[Event]:
        start = self.start_from
        return (
            in_utc(event)
            for event in events
            if event.type in self.handlers and (start is None or event.recorded_at >= start)
        )

    def poison(self, event: Event, error: BaseException) -> PoisonEvent:
        """The error that names this event as one that the projection cannot take."""
        known = isinstance(error, (WrongValue, KeyDoesNotFit))
        reason = said(error) if known else raised(error)
        return PoisonEvent(self.name, event.position, event.type, event.stream_id, reason)
