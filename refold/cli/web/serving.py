"""The page's server: its life, from the first look to Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from refold.cli.web.access import Access
from refold.cli.web.app import make_app
from refold.cli.web.board import Board
from refold.cli.web.places import Places
from refold.runtime.settings import Settings

_LEAVE_SECONDS = 3


async def serve(
    settings: Settings, listening: socket.socket, *, token: str | None, control: bool
) -> None:
    """Serves the page until SIGINT or SIGTERM.

    Args:
        settings: Those of a worker.
        listening: Where.
        token: See `Access`.
        control: See `Access`.

    Raises:
        RefoldError: The settings cannot work.
    """
    places = Places(settings)
    board = Board(places, control=control)
    looking = asyncio.create_task(board.keep())
    config = uvicorn.Config(
        make_app(places, board, Access(token, control)),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_LEAVE_SECONDS,
    )
    try:
        await _Server(config, board).serve(sockets=[listening])
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await places.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self._board = board

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends in good order; uvicorn's own way raises the signal anew once it has ended."""
        loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for one in signals:
            loop.add_signal_handler(one, self.handle_exit, one, None)
        try:
            yield
        finally:
            for one in signals:
                loop.remove_signal_handler(one)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets those who watch go: their streams would never end."""
        await self._board.close()
        await super().shutdown(sockets)
