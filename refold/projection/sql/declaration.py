"""A projection that is said in SQL: the read model is a select over events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NoReturn

from sqlalchemy import FromClause, Select, Table

from refold.errors import InvalidProjection
from refold.event import Event
from refold.projection.backfill_policy import BackfillPolicy
from refold.projection.checkpoints import Checkpoints
from refold.projection.declaration import Projection
from refold.projection.declared_table import TableSpec, looked_up, table_of
from refold.projection.key import Key
from refold.projection.keys.rule import PathSpec
from refold.projection.reading.handlers import Row
from refold.projection.snapshot_policy import Snapshots
from refold.projection.sql import checks
from refold.projection.sql.key_of_select import declared_events, path_of
from refold.projection.sql.merging import Merge, merges_of

BATCH_SIZE = 5_000_000
"""Events in one statement of a rebuild, unless somebody says otherwise: about ten seconds."""


class SqlProjection(Projection):
    """A read model that is a select over events, with one row a key.

    Refold runs the select inside PostgreSQL: a rebuild for the keys of a partition at a time, what
    follows for the keys of new events. What it makes of all events at once is what the rows must
    be.

    Args:
        name: As of a `Projection`.
        version: From 1; bump it when the select's meaning or the table changes.
        table: As of a `Projection`.
        select: A function that takes the relation of events, and returns
            ``sqlalchemy.select(…)`` from it. The relation has the columns position, stream_id,
            version, type, data, metadata (both jsonb) and recorded_at, and ``key`` (``key_1``,
            ``key_2`` … if there are several parts) when `key` is given. It has only the events that
            are meant, so windows and joins of it see whole keys. The columns are labelled as the
            table's, or stand in the order of these; each of the table's is selected.
        key: As of a `Projection`, but for a function. When left out, it is what the select has for
            the table's primary key, such as ``events.c.stream_id`` or
            ``events.c.data["sku"].astext``.
        types: The event types that are read; None for those that the select's WHERE names, or else
            all.
        lookups: Other tables that the select reads, or declarative classes that have them. Their
            changes are no events: rows have what stood there when they were last computed, and
            `--plan` names them.
        merge: How the row that new events alone make is merged into the one that stands: for each
            column beside the key ``"sum"``, ``"min"``, ``"max"``, ``"first"``, ``"last"``, or a
            function of the old and the new SQL expression. When left out, the keys of new events
            are computed anew from all of their events.
        backfill: How it is backfilled and rebuilt. A batch of a rebuild is a statement that may
            read the whole log, so where nobody says a `batch_size` it has up to 5,000,000 events.
        checkpoints: As of a `Projection`.
        snapshots: As of a `Projection`.

    Attributes:
        merges: The function that merges each column; None when keys are computed anew.
        columns_used: Which columns of events the select looks at.

    Raises:
        InvalidProjection: The select has no key, reads a table that is not declared, depends on
            the moment, looks at the events of other keys, or its columns do not fit the table's.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        table: TableSpec,
        select: Callable[[Any], Select[Any]],
        key: PathSpec | None = None,
        types: Collection[str] | None = None,
        lookups: Collection[FromClause | type[Any]] = (),
        merge: Mapping[str, str | Merge] | None = None,
        backfill: BackfillPolicy | None = None,
        checkpoints: Checkpoints | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        if callable(key):
            raise InvalidProjection(
                f"{name}: key: expected paths, got a function: PostgreSQL cannot call it"
            )
        if isinstance(types, str) or (types is not None and not types):
            raise InvalidProjection(f"{name}: types: expected event types, or None, got {types!r}")
        table = table_of(name, table)
        read = [looked_up(name, one) for one in lookups]
        super().__init__(
            name,
            version=version,
            table=table,
            key=_inferred(name, table, select) if key is None else key,
            backfill=backfill,
            checkpoints=checkpoints,
            snapshots=snapshots,
        )
        assert self.key_paths is not None
        events = declared_events(self.key_paths)
        said = checks.called(name, select, events)
        checks.require_tables(name, said, read)
        checks.require_constant(name, said)
        self._places = checks.positions_of(name, said, table)
        of_key = [self._places[checks.place_of(table, path.column)] for path in self.key_paths]
        checks.require_key(name, said, events, self.key_paths, of_key)
        self._select = select
        self._types = sorted(types) if types is not None else checks.types_of(said, events)
        self.lookups = tuple(checks.full_name(one) for one in read)
        self.columns_used = checks.columns_used(said, events)
        self.merges = None if merge is None else merges_of(name, table, said, merge)

    def select(self, events: FromClause) -> tuple[Select[Any], list[int]]:
        """The select over a relation of events, and which of its columns fills each of the table's.

        Raises:
            InvalidProjection: Its function raised.
        """
        return checks.called(self.name, self._select, events), self._places

    @property
    def event_types(self) -> list[str] | None:
        """The event types that are read, sorted; None for all."""
        return self._types

    def on(self, *events: Any, key: Any = None) -> Any:
        """Refused: a select has no handlers.

        Raises:
            InvalidProjection: Always.
        """
        self._refuse("on()", "it has no handlers; say it in the select, or declare a Projection")

    def fold_key(self, *events: Any) -> Any:
        """Refused: a select has no handlers.

        Raises:
            InvalidProjection: Always.
        """
        self._refuse("fold_key()", "say it in the select, or declare a Projection")

    def fold(self, events: Iterable[Event]) -> dict[Key, Row]:
        """Refused: only PostgreSQL can run a select.

        Raises:
            InvalidProjection: Always.
        """
        self._refuse("fold()", "run its select over the events in PostgreSQL to know the rows")

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise InvalidProjection(f"{self.name}: {what}: the projection is said in SQL: {why}")


_FOLLOWED_AT_ONCE = 5000


def batch_size_of(projection: Projection) -> int:
    """Events in one transaction of a projection, if a request does not say otherwise."""
    policy = projection.backfill
    large = isinstance(projection, SqlProjection) and "batch_size" not in policy.model_fields_set
    return BATCH_SIZE if large else policy.batch_size


def followed_at_once(projection: Projection) -> int:
    """Events in one transaction of a live projection, where so many wait.

    Where nobody says a `batch_size`, more than in a backfill: it has the table for itself, and a
    commit for every thousand events would cost as much as their rows.
    """
    said = "batch_size" in projection.backfill.model_fields_set
    if said or isinstance(projection, SqlProjection):
        return projection.checkpoints.batch_size(batch_size_of(projection))
    return projection.checkpoints.batch_size(_FOLLOWED_AT_ONCE)


def require_handlers(projection: Projection, asked: str) -> None:
    """Requires that events are folded by handlers, one by one.

    Args:
        projection: Any.
        asked: What needs that, for the message.

    Raises:
        InvalidProjection: It is said in SQL.
    """
    if isinstance(projection, SqlProjection):
        projection._refuse(asked, "it has no handlers that take one event after another")


def _inferred(
    name: str, table: Table, select: Callable[[Any], Select[Any]]
) -> str | tuple[str, ...]:
    """The paths that the select has for the table's primary key."""
    events = declared_events(())
    said = checks.called(name, select, events)
    places = checks.positions_of(name, said, table)
    columns = list(said.selected_columns)
    parts = []
    for column in table.primary_key.columns:
        at = checks.place_of(table, column)
        path = path_of(columns[places[at]], events)
        if path is None:
            raise InvalidProjection(
                f"{name}: select: expected the key for column {column.name!r}, the primary key of "
                f"table {table.name!r}: events.c.stream_id, a path such as "
                'events.c.data["sku"].astext, or events.c.key together with key="…"'
            )
        parts.append(path)
    return parts[0] if len(parts) == 1 else tuple(parts)
