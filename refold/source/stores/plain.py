"""A plain table of events, by the names of its columns."""

from __future__ import annotations

from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described


def table(
    name: str,
    *,
    schema: str = "public",
    position: str = "id",
    type: str = "type",  # noqa: A002
    data: str | tuple[str, str] = ("payload", "jsonb"),
    stream_id: str | tuple[str, str] | None = None,
    version: str | None = None,
    metadata: str | tuple[str, str] | None = None,
    recorded_at: str | tuple[str, str] | None = ("created_at", "timestamptz"),
    tenant: str | None = None,
    wakes_on: str | None = None,
) -> EventSource:
    """A plain table of events, whose positions come from an identity or a sequence's default.

    A column is its name, or a pair of name and type: bigint, json, jsonb, bytea, text, timestamp,
    timestamptz or uuid. `EventSource` itself takes joins, conditions and expressions.

    Args:
        name: The table's name.
        schema: Where it is.
        position: Whole numbers in the order of the events.
        type: What happened; text.
        data: The body; jsonb if no type is given.
        stream_id: The stream; text if no type is given, None for events without.
        version: The place within the stream.
        metadata: A column of JSON: jsonb if no type is given.
        recorded_at: When; timestamptz if no type is given.
        tenant: Whose event it is; text.
        wakes_on: The channel on which the application notifies.
    """
    given = {
        "position": (position, "bigint"),
        "type": (type, "text"),
        "data": _pair(data, "jsonb"),
        "stream_id": _pair(stream_id, "text"),
        "version": _pair(version, "bigint"),
        "metadata": _pair(metadata, "jsonb"),
        "recorded_at": _pair(recorded_at, "timestamptz"),
        "tenant": _pair(tenant, "text"),
    }
    there = {place: pair for place, pair in given.items() if pair is not None}
    made = described(schema, name, **dict(there.values()))
    columns = {place: made.c[column] for place, (column, _) in there.items()}
    return EventSource(made, **columns, wakes_on=wakes_on, name=f"{schema}.{name}")  # type: ignore[arg-type]


def _pair(given: str | tuple[str, str] | None, kind: str) -> tuple[str, str] | None:
    return (given, kind) if isinstance(given, str) else given
