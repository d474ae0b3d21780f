"""The library eventsourcing: plain, compressed, and compressed and encrypted."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.cryptography import AESCipher
from eventsourcing.persistence import IntegrityError
from eventsourcing.utils import Environment

from refold import Event, stores
from tests.support import store_shapes
from tests.support.mapped import Shape
from tests.support.real_stores.library import Appends, Conflict, Library, Said, at_once
from tests.support.real_stores.tally import Shop, Tally

_COMPRESSED = {"COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor"}
_ENCRYPTED = {
    "CIPHER_TOPIC": "eventsourcing.cryptography:AESCipher",
    "CIPHER_KEY": AESCipher.create_key(16),
    # Appends then take no lock on the table.
    "POSTGRES_ENABLE_DB_FUNCTIONS": "y",
}
_DOES = {"Added": "add", "Noted": "note", "Removed": "remove"}
_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _EventSourcing:
    def __init__(self, url: str, variables: dict[str, str], **given: Any) -> None:
        self.source = stores.eventsourcing("shop", type_prefix=f"{_topic()}.", **given)
        self._wraps = "decompress" not in given
        there = urlsplit(url)
        self.shop = Shop(
            Environment(
                env={
                    "PERSISTENCE_MODULE": "eventsourcing.postgres",
                    "POSTGRES_DBNAME": there.path[1:],
                    "POSTGRES_HOST": there.hostname or "",
                    "POSTGRES_PORT": str(there.port),
                    "POSTGRES_USER": there.username or "",
                    "POSTGRES_PASSWORD": there.password or "none",
                    **variables,
                }
            )
        )
        self._ids: dict[str, UUID] = {}

    def append(self, appends: Appends) -> None:
        at_once(self._append, appends)

    def _append(self, stream: str, said: Sequence[Said]) -> None:
        known = self._ids.get(stream)
        tally: Tally = self.shop.repository.get(known) if known else Tally(Decimal("12.50"))
        self._ids[stream] = tally.id
        for one in said:
            _do(tally, one)
        self.shop.save(tally)

    def append_too_late(self, stream: str, said: Said) -> None:
        tally: Tally = self.shop.repository.get(self._ids[stream], version=1)
        _do(tally, said)
        try:
            self.shop.save(tally)
        except IntegrityError as error:
            raise Conflict from error

    def read(self) -> list[Event]:
        return [
            self._event(notification.id, self.shop.mapper.to_domain_event(notification))
            for notification in self.shop.recorder.select_notifications(None, 1_000_000)
        ]

    def _event(self, position: int, told: Any) -> Event:
        data = {k: self._json(v) for k, v in told.__dict__.items() if "originator_id" not in k}
        version = data.pop("originator_version")
        kind = type(told).__name__
        return Event(position, str(told.originator_id), version, kind, data, {}, told.timestamp)

    def _json(self, value: Any) -> Any:
        """A value as this library stores it; or without its wrapping."""
        match value:
            case Decimal():
                kind, inner = "decimal_str", str(value)
            case datetime():
                kind, inner = "datetime_iso", value.isoformat()
            case UUID():
                kind, inner = "uuid_hex", value.hex
            case list():
                return [self._json(one) for one in value]
            case _:
                return value
        return {"_type_": kind, "_data_": inner} if self._wraps else inner


def _topic() -> str:
    return f"{Tally.__module__}:{Tally.__qualname__}"


def _do(tally: Tally, said: Said) -> None:
    more = [Decimal(n) / 4 for n in said.metadata["more"]] + [tally.id]
    getattr(tally, _DOES[said.type])(**said.data, at=_AT, more=more)


@contextmanager
def _opened(url: str, variables: dict[str, str], **given: Any) -> Iterator[_EventSourcing]:
    library = _EventSourcing(url, variables, **given)
    try:
        yield library
    finally:
        library.shop.close()


def _library(name: str, shape: Shape, variables: dict[str, str], **given: Any) -> Library:
    opened = partial(_opened, variables=variables, **given)
    return Library(name, opened, shape, keeps_metadata=False, sees_data="decompress" not in given)


def _text_ids(shape: Shape) -> Shape:
    return replace(shape, ddl=shape.ddl.replace("originator_id uuid", "originator_id text"))


PLAIN = _library("eventsourcing", store_shapes.EVENTSOURCING, {})
COMPRESSED = _library(
    "eventsourcing-zlib", store_shapes.COMPRESSED, _COMPRESSED, decompress=zlib.decompress
)
ENCRYPTED = _library(
    "eventsourcing-aes",
    store_shapes.COMPRESSED,
    {**_COMPRESSED, **_ENCRYPTED},
    decrypt=AESCipher(Environment(env=_ENCRYPTED)).decrypt,
    decompress=zlib.decompress,
)
TEXT_IDS = _library(
    "eventsourcing-text",
    _text_ids(store_shapes.EVENTSOURCING),
    {"ORIGINATOR_ID_TYPE": "text"},
    text_streams=True,
)
