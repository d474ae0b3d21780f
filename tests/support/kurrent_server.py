"""A KurrentDB as its client sees it: a gRPC server with the client's own messages, and a log."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
import grpc.aio
import orjson
from kurrentdbclient.protos.v1 import shared_pb2, streams_pb2, streams_pb2_grpc

from tests.support.mirrored import NOON
from tests.support.ports import free_port

JSON = "application/json"


@dataclass(frozen=True)
class Recorded:
    """An event in the log."""

    stream: str
    revision: int
    type: str
    data: bytes
    metadata: bytes
    content_type: str
    commit: int
    prepare: int
    at: datetime
    id: uuid.UUID

    def message(self) -> streams_pb2.ReadResp:
        ticks = round(self.at.timestamp() * 10_000_000)
        event = streams_pb2.ReadResp.ReadEvent.RecordedEvent(
            id=shared_pb2.UUID(string=str(self.id)),
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=self.stream.encode()),
            stream_revision=self.revision,
            prepare_position=self.prepare,
            commit_position=self.commit,
            metadata={
                "type": self.type,
                "content-type": self.content_type,
                "created": str(ticks),
            },
            custom_metadata=self.metadata,
            data=self.data,
        )
        read = streams_pb2.ReadResp.ReadEvent(event=event, commit_position=self.commit)
        return streams_pb2.ReadResp(event=read)


@dataclass
class Kurrent(streams_pb2_grpc.StreamsServicer):
    """The log, and how the server is to misbehave.

    Attributes:
        log: In order.
        asked: The commit position and filter of each read.
        refuses: Answer the next reads with these statuses.
        breaks_after: End the next read with an error after so many events.
    """

    log: list[Recorded] = field(default_factory=list)
    asked: list[tuple[int | None, str]] = field(default_factory=list)
    refuses: list[grpc.StatusCode] = field(default_factory=list)
    breaks_after: int | None = None
    _revisions: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        stream: str,
        kind: str,
        data: Any,
        metadata: Any = None,
        *,
        content_type: str = JSON,
        commit: int | None = None,
    ) -> Recorded:
        """Appends an event; several of one transaction have the same commit position."""
        revision = self._revisions[stream] = self._revisions.get(stream, -1) + 1
        # Positions are places in a file.
        prepare = (self.log[-1].prepare if self.log else 0) + 137
        made = Recorded(
            stream,
            revision,
            kind,
            data if isinstance(data, bytes) else orjson.dumps(data),
            b"" if metadata is None else orjson.dumps(metadata),
            content_type,
            prepare if commit is None else commit,
            prepare,
            NOON,
            uuid.uuid4(),
        )
        self.log.append(made)
        return made

    async def Read(  # noqa: N802
        self, request: streams_pb2.ReadReq, context: Any
    ) -> AsyncIterator[streams_pb2.ReadResp]:
        options = request.options
        begins = options.all.position if options.all.HasField("position") else None
        pattern = options.filter.event_type.regex
        self.asked.append((begins.commit_position if begins else None, pattern))
        if self.refuses:
            await context.abort(self.refuses.pop(0), "refused")
        given = 0
        for one in sorted(self.log, key=lambda one: (one.commit, one.prepare)):
            place = (one.commit, one.prepare)
            if begins and place < (begins.commit_position, begins.prepare_position):
                continue
            if pattern and not re.search(pattern, one.type):
                continue
            if given == options.count:
                return
            if given == self.breaks_after:
                self.breaks_after = None
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            given += 1
            yield one.message()


@asynccontextmanager
async def served(kurrent: Kurrent, port: int) -> AsyncIterator[None]:
    """The server, as long as the context lasts; then its connections are cut."""
    server = grpc.aio.server()
    register: Any = streams_pb2_grpc.add_StreamsServicer_to_server
    register(kurrent, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def address() -> tuple[str, int]:
    """An address for a server that is not there yet, and its port."""
    port = free_port()
    return f"kurrentdb://127.0.0.1:{port}?tls=false", port
