"""Emmett, in a process of Node.js."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg

from refold import Event, stores
from tests.support import npm, store_shapes
from tests.support.real_stores.library import Appends, Conflict, Library, Said

_VERSION = "0.42.0"
_PACKAGES = ("@event-driven-io/emmett-postgresql", "@event-driven-io/emmett")
# What it adds to the metadata of an event that it reads.
_ADDED = ("messageId", "streamName", "streamPosition", "globalPosition")


class _Emmett:
    def __init__(self, url: str, modules: Path) -> None:
        self.source = stores.emmett()
        self._url = url
        self._streams: set[str] = set()
        program = Path(__file__).with_suffix(".mjs")
        self._node = subprocess.Popen(
            ["node", str(program), str(modules), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def append(self, appends: Appends) -> None:
        self._streams |= appends.keys()
        self.ask("append", appends={k: [[*map(_sent, s)] for s in v] for k, v in appends.items()})

    def append_too_late(self, stream: str, said: Said) -> None:
        failed = self._told("late", stream=stream, events=[_sent(said)]).get("failed", "")
        if "Expected version 1 does not match" in failed:
            raise Conflict(failed)

    def read(self) -> list[Event]:
        # It tells no times, and reads stream by stream.
        with psycopg.connect(self._url) as connection:
            found = connection.execute("SELECT global_position, created FROM emt_messages")
            times: dict[int, datetime] = dict(found.fetchall())
        events = []
        for told in self.ask("read", streams=sorted(self._streams)):
            metadata = told["metadata"]
            _, stream, version, position = (metadata.pop(name) for name in _ADDED)
            fields = (stream, version, told["type"], told["data"], metadata)
            events.append(Event(position, *fields, times[position]))
        return sorted(events)

    def ask(self, what: str, **given: Any) -> Any:
        answer = self._told(what, **given)
        assert "failed" not in answer, answer["failed"]
        return answer["done"]

    def _told(self, what: str, **given: Any) -> dict[str, Any]:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(orjson.dumps({"what": what, **given}) + b"\n")
        self._node.stdin.flush()
        told: dict[str, Any] = orjson.loads(self._node.stdout.readline())
        return told

    def close(self) -> None:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.close()
        self._node.stdout.close()
        self._node.wait(10)


def _sent(said: Said) -> dict[str, Any]:
    return said._asdict()


@contextmanager
def _opened(url: str) -> Iterator[_Emmett]:
    modules = npm.packages("emmett", *(f"{name}@{_VERSION}" for name in _PACKAGES))
    library = _Emmett(url, modules)
    try:
        library.ask("migrate")
        # A command is in the same table.
        command = {"type": "Added", "kind": "Command", "data": {"key": "no event"}}
        library.ask("append", appends={"order-commands": [[command]]})
        yield library
    finally:
        library.close()


EMMETT = Library("emmett", _opened, store_shapes.EMMETT)
