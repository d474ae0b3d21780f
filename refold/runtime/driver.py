"""asyncpg's connection, which can be cancelled at any moment: while it is opened, and in writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import asyncpg

_ENDING_SECONDS = 2.0
"""A cancelled statement has so long to end in good order; then its connection is closed."""

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[Any]
else:
    _Connection = asyncpg.Connection


class _Stopped(Exception):
    """Ends a statement whose rows are not wanted any more, in a way that asyncpg is ready for."""


class _Rows:
    """Rows until they are stopped; from the first on again, if asyncpg prepares anew."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = rows
        self.stopped = self.sent = False

    def __iter__(self) -> Iterator[Any]:
        self.sent = False
        for row in self._rows:
            if self.stopped:
                raise _Stopped
            yield row
        self.sent = True


class DriverConnection(_Connection):
    """asyncpg's, of which `executemany` ends when it is cancelled.

    asyncpg's own waits for ever for an answer if it is cancelled while it still sends rows: the
    server waits for the rest of them (MagicStack/asyncpg's `bind_execute_many`).
    """

    async def executemany(
        self, command: str, args: Iterable[Any], *, timeout: float | None = None
    ) -> None:
        """As asyncpg's; one that cannot end in good order when it is cancelled closes all."""
        rows = _Rows(args)
        work = asyncio.ensure_future(super().executemany(command, rows, timeout=timeout))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            rows.stopped = True
            try:
                if rows.sent:  # it waits for the answer alone, and asks the server to stop
                    work.cancel()
                await asyncio.wait({work}, timeout=_ENDING_SECONDS)
            finally:
                if not work.done():
                    self.terminate()
                    work.cancel()
                work.add_done_callback(_seen)
            raise


async def connect(dsn: str | None, **how: Any) -> asyncpg.Connection[Any]:
    """As asyncpg's; one that is cancelled is opened behind one's back, and closed at once.

    asyncpg's own, cancelled between its first packet and the answer, leaves a future behind whose
    ConnectionError nobody takes, and the event loop logs it (`TLSUpgradeProto.connection_lost`).

    Raises:
        OSError, asyncpg.PostgresError, ValueError: As asyncpg's.
    """
    opening = asyncio.ensure_future(asyncpg.connect(dsn, **how))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_unwanted)
        raise


def _unwanted(opening: asyncio.Future[asyncpg.Connection[Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().terminate()


def _seen(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()
