"""What probes ask a worker over HTTP: whether it is alive, and whether it takes tasks."""

from __future__ import annotations

import asyncio
import contextlib

from refold.errors import ConfigurationError

HEALTH_PORT = "REFOLD_HEALTH_PORT"

_SECONDS = 5.0
_OK, _NOT_FOUND, _UNAVAILABLE = "200 OK", "404 Not Found", "503 Service Unavailable"


class Health:
    """A worker's health: ``/livez`` and ``/readyz``, in plain text.

    The event loop of the worker answers, so an answer says that it goes round. Whether PostgreSQL
    and Temporal are there is no part of it once it is ready: a restart would not bring them back.

    Attributes:
        not_ready: Why it takes no tasks; None when it does.
    """

    def __init__(self) -> None:
        self.not_ready: str | None = "it waits for PostgreSQL and Temporal"
        self._server: asyncio.Server | None = None

    async def serve(self, port: int) -> None:
        """Answers from now on, at all addresses of the machine.

        Raises:
            ConfigurationError: The port is taken.
        """
        try:
            self._server = await asyncio.start_server(self._answer, port=port)
        except OSError as error:
            raise ConfigurationError(
                f"{HEALTH_PORT}: expected a port that is free, got {port} ({error.strerror})"
            ) from None

    def close(self) -> None:
        """Answers no more."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Who asks may be gone, send nothing, or anything at all.
        with contextlib.suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_SECONDS):
                line = (await reader.readline()).decode(errors="replace")
                while (await reader.readline()).strip():
                    pass
                status, said = self._said(line.split(" ")[1] if line.startswith("GET ") else "")
                body = f"{said}\n".encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        writer.close()

    def _said(self, path: str) -> tuple[str, str]:
        if path == "/livez":
            return _OK, "alive"
        if path != "/readyz":
            return _NOT_FOUND, "expected /livez or /readyz"
        if self.not_ready is None:
            return _OK, "ready"
        return _UNAVAILABLE, f"not ready: {self.not_ready}"
