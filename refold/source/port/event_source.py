"""`EventSource`: where the events are, and what their columns mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Select,
    String,
    Table,
    Text,
    Uuid,
    cast,
    func,
    literal_column,
    null,
    select,
    type_coerce,
)
from sqlalchemy.sql import visitors

from refold.errors import ConfigurationError
from refold.source.port.bodies import Decode, body_of, metadata_of
from refold.source.port.fields import Fields
from refold.source.settled.locks import Locks
from refold.source.settled.strategy import Settling
from refold.store import schema

MetadataColumns = ColumnElement[Any] | Mapping[str, ColumnElement[Any]] | None
TimeOfData = Callable[[Mapping[str, Any]], datetime]


class EventSource:
    """Where the events are: a table, a join or a select of one PostgreSQL, and its columns.

    Args:
        selected: A table, a join, or a select of them with WHERE; the columns below are its own.
        position: The events' place in the whole log: unique, whole numbers of up to 64 bits, in
            the order in which events are to be applied. Gaps do no harm.
        type: What happened.
        data: The body: a column of jsonb, json, text or bytea that holds a JSON object, or whatever
            `decode` takes.
        stream_id: The stream (aggregate): text, a uuid or a whole number; None when events have
            none, which then have "" for it. A column that may be NULL is declared nullable.
        version: The place within the stream; None when events have none, which then have 0.
        type_prefix: What all types begin with that handlers do not write: ``Elixir.Shop.``.
        metadata: A column of JSON, or a mapping: a name to the column that holds it, ``*`` to a
            column of JSON whose fields are all taken.
        recorded_at: When an event was recorded: an expression with time zone, a column without one
            (which is taken for UTC), or a function of the decoded data. None when nobody knows:
            events have the year 1970, and nothing can be asked by date.
        tenant: Whose event it is, where REFOLD_TENANT_PATH says nothing.
        decode: What makes the data of what the column holds (bytes, text, or the value of its
            JSON), such as compressed, encrypted or MessagePack data. SQL cannot see into such data:
            keys and tenants cannot be paths into it, predicates on it are judged in Python.
        settled: How the head settles; see `refold.source.settled`.
        wakes_on: The channel on which the application notifies after it has appended; None for
            none: events are then looked for every so often.
        first: The lowest position that there may be, 0 or 1.
        url: The address of the PostgreSQL that has the events, when it is another database than
            the read models'. REFOLD_EVENTS_URL comes before it, and keeps passwords out of code.
        name: What to call it to people; that of its first table if left out.

    Attributes:
        url: As it was given.
        events: What statements select from: columns position, stream_id, version, type (as it is
            stored), data and metadata as jsonb, recorded_at, and tenant if there is one.
        statement: Selects these columns.
        before: The position before all events.
        fields: How an event travels.
        tables: All tables that are selected from.
        is_own: Whether it is Refold's own table.
        sampled_table: The table that the positions are in; None when that is not known.
        position: As it was given.
        recorded_at: As it was given.
        has_tenant: Whether a column says whose event it is.
        has_versions: Whether a column has the events' versions.
        has_times: Whether SQL knows when events were recorded.
        sees_data: Whether SQL can see into the events' data.

    Raises:
        ConfigurationError: It cannot work; the message says why.
    """

    def __init__(
        self,
        selected: FromClause | Select[Any],
        *,
        position: ColumnElement[Any],
        type: ColumnElement[Any],  # noqa: A002
        data: ColumnElement[Any],
        stream_id: ColumnElement[Any] | None = None,
        version: ColumnElement[Any] | None = None,
        type_prefix: str = "",
        metadata: MetadataColumns = None,
        recorded_at: ColumnElement[Any] | TimeOfData | None = None,
        tenant: ColumnElement[Any] | None = None,
        decode: Decode | None = None,
        settled: Settling | None = None,
        wakes_on: str | None = None,
        first: int = 0,
        url: str | None = None,
        name: str | None = None,
    ) -> None:
        self.url = url
        self.type_prefix = type_prefix
        self.settled = settled or Locks()
        self.wakes_on = wakes_on
        self.before = first - 1
        statement = _plain(selected)
        self.tables = _tables(statement)
        self.name = name or self.tables[0].fullname
        body, about = body_of(data, decode, "data"), metadata_of(metadata)
        self.sees_data, self.has_times = body.is_open, isinstance(recorded_at, ColumnElement)
        is_timed = isinstance(recorded_at, ColumnElement) or recorded_at is None
        # Where the events' own rows are, if that is one table: of it, a few pages can be drawn.
        table = getattr(position, "table", None)
        self.sampled_table = table if isinstance(table, Table) else None
        self.position, self.recorded_at = position, recorded_at
        columns: dict[str, ColumnElement[Any]] = {
            "position": _whole(position, "position"),
            "stream_id": _stream(stream_id),
            "version": _version(version),
            "type": type if isinstance(type.type, Text | String) else cast(type, Text),
            "data": body.asked,
            "metadata": about.asked,
            "recorded_at": _time(recorded_at if is_timed else None),  # type: ignore[arg-type]
        }
        if tenant is not None:
            columns["tenant"] = tenant
        self.has_tenant, self.has_versions = tenant is not None, version is not None
        self.is_own = selected is schema.events
        self.fields = Fields(
            sent=(body.sent, about.sent, about.more),
            reads=(body.read, about.read),
            type_prefix=type_prefix,
            time_of=None if is_timed else recorded_at,  # type: ignore[arg-type]
            has_times=self.has_times,
            is_own=self.is_own,
        )
        broken = {"data": body.broken, "metadata": about.broken}
        self._broken = {place: column for place, column in broken.items() if column is not None}
        self.statement = statement
        if self.is_own:
            self.events: FromClause = self.tables[0]
            return
        columns |= self.fields.columns
        columns |= {f"{place}_broken": column for place, column in self._broken.items()}
        labelled = [column.label(label) for label, column in columns.items()]
        self.statement = statement.with_only_columns(*labelled, maintain_column_froms=True)
        self.events = self.statement.subquery("events")

    # -- types ---------------------------------------------------------------------------------

    def stored_types(self, types: Collection[str]) -> list[str]:
        """Types of events as they are stored: constants are translated, never the column."""
        return [f"{self.type_prefix}{name}" for name in types]

    def type_of(self, stored: str) -> str:
        """The type of an event, of what is stored."""
        return stored.removeprefix(self.type_prefix)

    # -- what SQL cannot read ------------------------------------------------------------------

    def broken(self, paths: Sequence[str]) -> list[ColumnElement[bool]]:
        """The conditions for events whose JSON cannot be read, as far as these paths lead there."""
        roots = {path.partition(".")[0] for path in paths}
        return [self.events.c[f"{place}_broken"] for place in self._broken if place in roots]

    def __repr__(self) -> str:
        return f"EventSource({self.name})"


def _plain(selected: FromClause | Select[Any]) -> Select[Any]:
    """The select whose columns are replaced.

    Raises:
        ConfigurationError: Its rows depend on one another.
    """
    if not isinstance(selected, Select):
        return select(literal_column("1")).select_from(selected)
    parts = {
        "DISTINCT": selected._distinct,
        "GROUP BY": selected._group_by_clauses,
        "HAVING": selected._having_criteria,
        "LIMIT": selected._has_row_limiting_clause,
        "FOR UPDATE": selected._for_update_arg is not None,
    }
    wrong = [name for name, there in parts.items() if there]
    if wrong:
        raise ConfigurationError(
            f"EventSource: expected a table, a join, or a select with WHERE, got one with "
            f"{', '.join(wrong)}: PostgreSQL would make all of it for each batch. Put it into a "
            "table of its own, or leave it out"
        )
    return selected


def _tables(statement: Select[Any]) -> list[Table]:
    found: dict[str, Table] = {}
    for part in statement.get_final_froms():
        for element in visitors.iterate(part):
            if isinstance(element, Table):
                found.setdefault(element.fullname, element)
    if not found:
        raise ConfigurationError(
            "EventSource: expected a Table among what is selected from, got none: declare the "
            "table with sqlalchemy.Table, or reflect it"
        )
    return list(found.values())


def _whole(column: ColumnElement[Any], place: str) -> ColumnElement[Any]:
    if not isinstance(column.type, Integer):
        raise ConfigurationError(
            f"EventSource: {place}: expected a column of whole numbers (bigint), got "
            f"{column.type!r}. Events without such a position cannot be followed in place: add one "
            "(ALTER TABLE … ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY), or copy them "
            "into refold.events"
        )
    # Constants are sent as bigint, whatever the column is.
    return type_coerce(column, BigInteger)


def _stream(column: ColumnElement[Any] | None) -> ColumnElement[Any]:
    if column is None:
        return literal_column("''", Text)
    if getattr(column, "nullable", False):
        text = column if isinstance(column.type, String) else cast(column, Text)
        return func.coalesce(text, literal_column("''"), type_=Text)
    return column if isinstance(column.type, String | Uuid | Integer) else cast(column, Text)


def _version(column: ColumnElement[Any] | None) -> ColumnElement[Any]:
    none = literal_column("0", Integer)
    if column is None:
        return none
    return func.coalesce(column, none) if getattr(column, "nullable", False) else column


def _time(column: ColumnElement[Any] | None) -> ColumnElement[Any]:
    zoned = DateTime(timezone=True)
    if column is None:
        return cast(null(), zoned)
    if isinstance(column.type, String):
        return cast(column, zoned)
    if isinstance(column.type, DateTime) and not column.type.timezone:
        return column.op("AT TIME ZONE", return_type=zoned)(literal_column("'UTC'"))
    return type_coerce(column, zoned)
