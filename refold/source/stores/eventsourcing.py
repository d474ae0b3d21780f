"""The library `eventsourcing` (Python)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text, case, cast, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB

from refold.projection.columns import exact_json
from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described

Bytes = Callable[[bytes], bytes]


def eventsourcing(
    application: str,
    *,
    schema: str = "public",
    text_streams: bool = False,
    type_prefix: str = "",
    unwrapped: bool = False,
    decrypt: Bytes | None = None,
    decompress: Bytes | None = None,
) -> EventSource:
    """eventsourcing 9.5: the table ``<application>_events``.

    A type is the topic, such as ``shop.domain:Order.Placed``. There is no metadata. As they are
    stored, values that are not JSON are wrapped: ``{"_type_": "decimal_str", "_data_": "12.50"}``.

    Args:
        application: The application's name, in small letters.
        schema: Where its table is.
        text_streams: Whether originators are named by texts, not by uuids.
        type_prefix: What all topics begin with that handlers do not write.
        unwrapped: Whether handlers are given ``"12.50"`` for such a value. SQL then cannot see into
            the data: a key cannot be a path into it.
        decrypt: Takes the state first, where there is a cipher, such as `AESCipher(…).decrypt`.
        decompress: Takes what comes of it, where there is a compressor, such as `zlib.decompress`.
    """
    events = described(
        *(schema, f"{application}_events"),
        notification_id="bigint",
        originator_id="text" if text_streams else "uuid",
        originator_version="bigint",
        topic="text?",
        state="bytea?",
    )
    columns = events.c
    steps = [step for step in (decrypt, decompress) if step is not None]

    def decode(state: bytes) -> Mapping[str, Any]:
        for step in steps:
            state = step(state)
        found: Mapping[str, Any] = _unwrapped(exact_json.loads(state))
        return found

    is_decoded = unwrapped or bool(steps)
    return EventSource(
        events,
        position=columns.notification_id,
        stream_id=columns.originator_id,
        version=columns.originator_version,
        type=columns.topic,
        type_prefix=type_prefix,
        data=columns.state,
        decode=decode if is_decoded else None,
        recorded_at=_recorded_at if steps else _timestamp(columns.state),
        wakes_on=f"{application}_events",
        first=1,
        name="eventsourcing",
    )


def _timestamp(state: Any) -> Any:
    text = func.convert_from(state, literal_column("'UTF8'"), type_=Text)
    found = func.jsonb_extract_path_text(
        cast(text, JSONB), literal_column("'timestamp'"), literal_column("'_data_'"), type_=Text
    )
    valid = func.pg_input_is_valid(text, literal_column("'jsonb'"))
    return case((valid, cast(found, DateTime(timezone=True))))


def _recorded_at(data: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(data["timestamp"])


def _unwrapped(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"_type_", "_data_"}:
            return _unwrapped(value["_data_"])
        return {name: _unwrapped(inner) for name, inner in value.items()}
    return [_unwrapped(inner) for inner in value] if isinstance(value, list) else value
