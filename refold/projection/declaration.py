"""A projection: a name, a version, a table, a key, and pure handlers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, overload

from sqlalchemy import Table

from refold.errors import InvalidProjection
from refold.errors.words import called_from
from refold.event import Event
from refold.projection.backfill_policy import BackfillPolicy, backfill_from, backfill_from_beginning
from refold.projection.checkpoints import Checkpoints, as_checkpoints
from refold.projection.declared_table import TableSpec, table_of
from refold.projection.defaults import Defaults, Policies
from refold.projection.fold import RowFold
from refold.projection.key import Key
from refold.projection.keys.part import KeyPart
from refold.projection.keys.rule import KeyRule, KeySpec, PathSpec
from refold.projection.reading.handlers import D1, D2, Handler, Handlers, Row, TypedHandler
from refold.projection.reading.key_fold import FoldsKey, FoldsTypedKey, KeyFold
from refold.projection.reading.shapes import require_handler, require_parameters
from refold.projection.snapshot_policy import Snapshots
from refold.projection.system_handlers import HandlesSystemEvents
from refold.system_events.handlers import SystemHandler

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")

__all__ = ["Handler", "Projection", "Row"]


class Projection(HandlesSystemEvents):
    """A read model's declaration: how its rows follow from the events.

    Args:
        name: ``[a-z][a-z0-9-]*``, at most 40 characters; unique among the registered projections.
        version: From 1; bump it when the handlers' meaning or the table changes.
        table: A SQLAlchemy Core table, or a declarative class that is mapped to one, of which its
            table counts and nothing else. Its primary key is the projection's key.
        key: Which row an event belongs to: ``"stream_id"``, a dotted path (``"data.sku"``), what
            `lower`, `split`, `day` or `month` give, a tuple of these for a composite key, or a
            function ``event -> key | list of keys | None`` (None: the event is skipped). `on` may
            say another for single event types.
        backfill: How it is backfilled and rebuilt.
        checkpoints: How often its checkpoint is moved while it is live.
        snapshots: When it makes snapshots by itself.

    What is left out of the last three is as the deployment's `Defaults` say.

    Raises:
        InvalidProjection: The declaration cannot work; the message says why.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        table: TableSpec,
        key: KeySpec,
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
        table = table_of(name, table)
        self.name = name
        self.version = version
        self.table: Table = table
        self.declared_at = called_from()
        own = Defaults(
            backfill=backfill or BackfillPolicy(),
            checkpoints=checkpoints or Checkpoints(),
            snapshots=snapshots,
        )
        self.policies = Policies(name, own)
        self.key_columns: tuple[str, ...] = tuple(str(c.name) for c in table.primary_key.columns)
        if callable(key):
            require_parameters(f"{name}: key", key, "event")
        self._key = KeyRule(key, table)
        self.reading = Handlers(name, self._key)
        self.handlers: dict[str, Handler] = self.reading.by_type
        self.key_fold: KeyFold | None = None
        self.system_handlers: list[SystemHandler] = []
        self.lookups: tuple[str, ...] = ()  # tables beside the events that a select reads
        try:
            self.rows = RowFold(name, table, self._key, self.handlers)
        except InvalidProjection as wrong:
            raise InvalidProjection(f"{name}: {wrong}") from None

    def __repr__(self) -> str:
        return f"Projection({self.name!r}, version={self.version})"

    @overload
    def on(self, *events: str, key: PathSpec | None = ...) -> Callable[[Handler], Handler]: ...

    @overload
    def on(
        self, e1: type[D1], /, *, key: PathSpec | None = ...
    ) -> Callable[[TypedHandler[D1]], TypedHandler[D1]]: ...

    @overload
    def on(
        self, e1: type[D1], e2: type[D2], /, *, key: PathSpec | None = ...
    ) -> Callable[[TypedHandler[D1 | D2]], TypedHandler[D1 | D2]]: ...

    @overload
    def on(
        self,
        e1: type[Any],
        e2: type[Any],
        e3: type[Any],
        /,
        *more: type[Any],
        key: PathSpec | None = ...,
    ) -> Callable[[TypedHandler[Any]], TypedHandler[Any]]: ...

    def on(self, *events: str | type[Any], key: PathSpec | None = None) -> Callable[[Any], Any]:
        """Registers the decorated function as the handler of these event types.

        Args:
            events: Types of events by name; or classes, pydantic models or dataclasses. Of these
                the handler is given a ``TypedEvent[OrderPlaced]``: its `data` is an instance. The
                type's name is the class's ``event_type``, a ``ClassVar[str]``, or without one the
                class's own name. An event whose data do not validate is poison.
            key: Which row events of these types belong to, if not by the projection's own key:
                what that may be, of as many parts, but no function.

        Raises:
            InvalidProjection: No type is given, a type has a handler already, the key does not
                match the table's primary key, it or the projection's is a function, the handler
                is no function of a row and an event, is asynchronous (handlers are pure) or
                yields, a class is not one of events, or `fold_key` has a function for all.
        """
        if not events:
            raise InvalidProjection(f"{self.name}: on(): expected at least one event type")
        try:
            parts = None if key is None else self._key.parts_of(key)
        except InvalidProjection as wrong:
            first = getattr(events[0], "__name__", events[0])
            raise InvalidProjection(f"{self.name}: on({first!r}): {wrong}") from None

        def register(handler: Handler) -> Handler:
            require_handler(self.name, handler)
            self._require_alone(handler, alone=self.key_fold is None)
            self.reading.add(events, handler, parts)
            return handler

        return register

    @overload
    def fold_key(self, *events: str) -> Callable[[FoldsKey], FoldsKey]: ...

    @overload
    def fold_key(self, e1: type[D1], /) -> Callable[[FoldsTypedKey[D1]], FoldsTypedKey[D1]]: ...

    @overload
    def fold_key(
        self, e1: type[D1], e2: type[D2], /
    ) -> Callable[[FoldsTypedKey[D1 | D2]], FoldsTypedKey[D1 | D2]]: ...

    @overload
    def fold_key(
        self, e1: type[Any], e2: type[Any], e3: type[Any], /, *more: type[Any]
    ) -> Callable[[FoldsTypedKey[Any]], FoldsTypedKey[Any]]: ...

    def fold_key(self, *events: str | type[Any]) -> Callable[[Any], Any]:
        """Registers the decorated function, which folds many events of a key at once.

        It takes the place of all handlers. It is given the row so far (None: there is none) and
        events of one key, at least one, in order, and returns the row after them (None: delete
        it): so a rebuild calls it once a key, and not once an event. A key's events may come in
        several parts, cut anywhere, each with the row that the part before has led to, as the
        table holds it; and one by one, as in `fold`, which says what the rows must be. So the
        function must fold on from any row.

        Args:
            events: Types of events, all of the projection's own key; as for `on`.

        Raises:
            InvalidProjection: As for `on`; or there is another such function, or a handler.
        """
        if not events:
            raise InvalidProjection(f"{self.name}: fold_key(): expected at least one event type")

        def register(function: FoldsKey) -> FoldsKey:
            require_handler(self.name, function, "fold_key()", "events")
            self._require_alone(function, alone=not self.handlers)
            self.key_fold = KeyFold(self.name, self._key, events, function)
            self.reading.add(events, self.key_fold.of_one)
            return function

        return register

    def _require_alone(self, function: Callable[..., Any], *, alone: bool) -> None:
        if not alone:
            raise InvalidProjection(
                f"{self.name}: expected handlers, or one function of fold_key() alone, got "
                f"{getattr(function, '__name__', function)!r} beside others: a key's events are "
                "folded in order, so one function takes all of them"
            )

    def with_checkpoints(
        self, checkpoints: Checkpoints | None = None, **settings: Any
    ) -> Projection:
        """Sets how often the checkpoint is moved; returns the projection.

        Args:
            checkpoints: The settings; the projection's own when left out.
            **settings: Those of `Checkpoints` that are to be otherwise.
        """
        own = checkpoints or self.policies.own.checkpoints
        self.policies.set_own(checkpoints=as_checkpoints(own, settings))
        return self

    def with_snapshots(self, snapshots: Snapshots | None = None, **settings: Any) -> Projection:
        """Sets when snapshots are made; returns the projection.

        Args:
            snapshots: The settings, such as ``Snapshots.none()``.
            **settings: Instead: those of `Snapshots.automatic`, or with ``trigger_on`` those of
                `Snapshots.manual`.

        Raises:
            InvalidProjection: Both are given.
        """
        if snapshots is not None and settings:
            raise InvalidProjection(
                f"{self.name}: with_snapshots(): expected Snapshots or settings, got both"
            )
        made = Snapshots.manual if "trigger_on" in settings else Snapshots.automatic
        own = snapshots if snapshots is not None else made(**settings)
        self.policies.set_own(snapshots=own)
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
        both = (self.policies.own.backfill, policy)
        given = {name: getattr(one, name) for one in both for name in one.model_fields_set}
        self.policies.set_own(backfill=BackfillPolicy(**given))
        return self

    @property
    def backfill(self) -> BackfillPolicy:
        """How it is backfilled and rebuilt: its own settings, and `Defaults` behind them."""
        return self.policies.backfill

    @property
    def checkpoints(self) -> Checkpoints:
        """How its checkpoint is kept: its own settings, and `Defaults` behind them."""
        return self.policies.checkpoints

    @property
    def snapshots(self) -> Snapshots:
        """When it makes snapshots by itself: as it says, or else as `Defaults` say."""
        return self.policies.snapshots

    @property
    def start_from(self) -> datetime | None:
        """Events recorded before this moment are in no fold; None for the beginning of the log."""
        return self.backfill.start_from

    @property
    def key_paths(self) -> tuple[KeyPart, ...] | None:
        """The parts of the key, one for each column of the primary key; None: it is a function."""
        return self._key.parts

    @property
    def event_types(self) -> list[str] | None:
        """The event types that are read, sorted; None for all."""
        return sorted(self.handlers)

    def fold(self, events: Iterable[Event]) -> dict[Key, Row]:
        """The read model of these events in plain Python, without a database: the oracle.

        Args:
            events: In order of position; types without a handler are passed over, and so are
                events recorded before the projection's `start_from`.

        Raises:
            PoisonEvent: An event that a handler or the key cannot take.
            InvalidProjection: Upcasters leave events on the way to the newest version.
        """
        self.reading.require_whole()
        return self.rows.fold(events, since=self.start_from)
