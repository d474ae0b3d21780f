"""A server between a store and its clients that is down, slow, or answers with errors."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PASS, DOWN, SLOW, SILENT, ERRORS = "pass", "down", "slow", "silent", "errors"

# What a server of the store says that cannot do its work.
_SAYS = {
    "redis": b"-LOADING the dataset is in memory soon\r\n",
    "dynamodb": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "cosmosdb": b"\x15\x03\x03\x00\x02\x02\x50",  # TLS: an internal error
    "sql": b"E\x00\x00\x00\x28SFATAL\x00VFATAL\x00C57P03\x00Mstarting up\x00\x00",
}


class FaultyProxy:
    """Passes bytes on, or fails.

    Attributes:
        mode: What it does with new connections and with those that there are.
    """

    def __init__(self, store: str, target: int) -> None:
        self.mode = PASS
        self._store = store
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()

    def be(self, mode: str) -> None:
        """From now on it is so; connections that there are end."""
        self.mode = mode
        for writer in list(self._open):
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        self._open.add(writer)
        try:
            if self.mode in (DOWN, ERRORS):
                await self._refuse(reader, writer)
                return
            with suppress(OSError):
                other = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(other[1])
                await asyncio.gather(self._pass(reader, other[1]), self._pass(other[0], writer))
        finally:
            self._open.discard(writer)
            writer.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == DOWN:
            return
        with suppress(OSError):
            while await reader.read(65536):
                writer.write(_SAYS[self._store])
                await writer.drain()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.mode == SILENT:
                    await asyncio.Event().wait()
                if self.mode == SLOW:
                    await asyncio.sleep(0.3)
                writer.write(data)
                await writer.drain()
        writer.close()
        self._open.discard(writer)


def bound() -> socket.socket:
    """A socket with a port that nobody else gets from now on."""
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    return own


def port_of(own: socket.socket) -> int:
    """A socket's port."""
    port: int = own.getsockname()[1]
    return port


@asynccontextmanager
async def faulty(
    store: str, address: str, own: socket.socket | None = None
) -> AsyncIterator[tuple[FaultyProxy, str]]:
    """A proxy before the server at an address, and the address by way of it.

    Args:
        store: The store.
        address: Where its server is.
        own: A port of the proxy's own, as `bound` gives one; another one when left out.
    """
    port = address.rsplit(":", 1)[1].partition("/")[0]
    proxy = FaultyProxy(store, int(port))
    own = own or bound()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, sock=own)
    try:
        yield proxy, address.replace(f":{port}", f":{port_of(own)}")
    finally:
        server.close()
        for task in connections:
            task.cancel()
