"""Message DB: its own SQL from npm, appends and reads by message-db-py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
from message_db.client import MessageDB

from refold import Event, stores
from tests.support import npm, store_shapes
from tests.support.real_stores.library import Appends, Conflict, Library, Said, at_once

_VERSION = "1.3.1"
# What its install.sh runs, in that order, without pgcrypto: gen_random_uuid is built in, and the
# embedded PostgreSQL has no extensions.
_FILES = (
    "roles/message-store",
    "schema/message-store",
    "tables/messages",
    "types/message",
    *(f"functions/{name}" for name in ("message-store-version", "hash-64", "acquire-lock")),
    *(f"functions/{name}" for name in ("category", "is-category", "id", "cardinal-id")),
    *(f"functions/{name}" for name in ("stream-version", "write-message")),
    *(f"functions/get-{name}" for name in ("stream-messages", "category-messages")),
    "functions/get-last-stream-message",
    *(f"indexes/messages-{name}" for name in ("id", "stream", "category")),
    *(f"privileges/{name}" for name in ("schema", "table", "sequence", "functions")),
)


class _MessageDB:
    def __init__(self, url: str) -> None:
        self.source = stores.message_db()
        path = "-c search_path=message_store,public"
        self._client = MessageDB.from_url(url, options=path)

    def append(self, appends: Appends) -> None:
        at_once(self._append, appends)

    def _append(self, stream: str, said: Sequence[Said]) -> None:
        self._client.write_batch(stream, [(one.type, one.data, one.metadata) for one in said])

    def append_too_late(self, stream: str, said: Said) -> None:
        try:
            self._client.write(stream, said.type, said.data, said.metadata, expected_version=0)
        except ValueError as error:
            if "Wrong expected version" not in str(error):
                raise
            raise Conflict from error

    def read(self) -> list[Event]:
        told = self._client.read("$all", no_of_messages=1_000_000)
        return [_event(one) for one in told if ":" not in one["stream_name"]]

    def tell_others(self) -> None:
        """Writes what is in the same table and is no event."""
        for stream in ("order:command-1", "order:position-consumer1", "order:a+command-2"):
            self._client.write(stream, "Added", {"key": "no event", "n": 1})


def _event(told: dict[str, Any]) -> Event:
    return Event(
        told["global_position"],
        told["stream_name"],
        told["position"],
        told["type"],
        told["data"],
        told["metadata"] or {},
        told["time"].replace(tzinfo=UTC),
    )


@contextmanager
def _opened(url: str) -> Iterator[_MessageDB]:
    modules = npm.packages("message-db", f"@eventide/message-db@{_VERSION}")
    _install(url, modules / "@eventide/message-db" / "database")
    library = _MessageDB(url)
    library.tell_others()
    try:
        yield library
    finally:
        library._client.connection_pool.closeall()


def _install(url: str, sql: Path) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = message_store, public")
        for name in _FILES:
            connection.execute((sql / f"{name}.sql").read_bytes())


MESSAGE_DB = Library("message_db", _opened, store_shapes.MESSAGE_DB)
