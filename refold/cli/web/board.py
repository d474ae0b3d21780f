"""How all projections stand, looked at again and again, for everybody who watches the page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from temporalio.service import RPCError

from refold.cli.status.standing import ask_temporal, in_database
from refold.cli.status.state import Standing, state_of
from refold.cli.web.places import Places
from refold.cli.web.shown import shown, shown_mirror
from refold.errors import RefoldError, TemporalUnreachable
from refold.messages.run.life import Progress
from refold.runtime.command import explained
from refold.runtime.database import DATABASE_ERRORS

logger = logging.getLogger(__name__)

WATCHED_SECONDS = 1.0
"""Between two looks while somebody watches."""

_EXPLAINED: tuple[type[Exception], ...] = (RefoldError, RPCError, *DATABASE_ERRORS)
_UNWATCHED_SECONDS = 15.0
_LONGEST_LOOK_SECONDS = 30.0
_STILL_THERE_SECONDS = 15.0
_POINTS = 600
"""Of the line of a projection's lag: ten minutes, when somebody watches all the time."""


@dataclass
class Look:
    """What one look has found.

    Attributes:
        number: Counted from 1.
        at: When.
        rows: A row for each projection; those of the look before where the database did not answer.
        mirrors: A row for each mirror that was ever started; those of the look before likewise.
        problem: What did not answer, and what to do; None when all did.
        has_workers: Whether a worker has shown itself lately; None when nobody knows.
    """

    number: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    rows: list[dict[str, Any]] = field(default_factory=list)
    mirrors: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None
    has_workers: bool | None = None


class Board:
    """Looks at all projections and hands what it finds to everybody who watches.

    However many watch, the database and Temporal are asked once: each second while somebody does,
    else each 15 seconds, for the line of the lag.

    Args:
        places: What it looks at.
        control: See `shown`.
    """

    def __init__(self, places: Places, *, control: bool) -> None:
        self._places = places
        self._control = control
        self._latest = Look()
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._watchers = 0
        self._closed = False
        self._progress: dict[str, tuple[str, Progress]] = {}
        self._lags: dict[str, deque[tuple[float, int]]] = {}

    @property
    def lags(self) -> dict[str, list[tuple[float, int]]]:
        """The lag of each projection over time: seconds since 1970, and events."""
        return {name: list(points) for name, points in self._lags.items()}

    async def keep(self) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            self._wanted.clear()
            found = await self._look()
            async with self._changed:
                self._latest = found
                self._changed.notify_all()
            pause = WATCHED_SECONDS if self._watchers else _UNWATCHED_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)

    def look_soon(self) -> None:
        """Has it look at once: something has just been asked for, or somebody begins to watch."""
        self._wanted.set()

    async def watch(self) -> AsyncIterator[Look | None]:
        """Each look from now on, until the board is closed; None when there was none for a while.

        The first is the latest one there is.
        """
        self._watchers += 1
        try:
            seen = 0
            self.look_soon()
            while not self._closed:
                try:
                    async with asyncio.timeout(_STILL_THERE_SECONDS), self._changed:
                        await self._changed.wait_for(partial(self._is_news, seen))
                except TimeoutError:
                    yield None
                    continue
                if not self._closed:
                    seen = self._latest.number
                    yield self._latest
        finally:
            self._watchers -= 1

    async def close(self) -> None:
        """Ends all watching."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_news(self, seen: int) -> bool:
        return self._closed or self._latest.number > seen

    async def _look(self) -> Look:
        before = self._latest
        look = Look(number=before.number + 1, rows=before.rows, mirrors=before.mirrors)
        try:
            async with asyncio.timeout(_LONGEST_LOOK_SECONDS):
                await self._fill(look)
        except TimeoutError:
            look.problem = f"no answer within {_LONGEST_LOOK_SECONDS:.0f} s"
        except _EXPLAINED as error:
            look.problem = explained(error)
        except Exception:
            logger.exception("the page cannot be brought up to date")
            look.problem = "something is wrong that is not understood: see the server's log"
        return look

    async def _fill(self, look: Look) -> None:
        rows = await in_database(self._places.engine, self._places.registry)
        found: dict[str, Progress] = {}
        try:
            manager = await self._places.manager()
            look.has_workers = await manager.has_workers()
            found = await ask_temporal(manager, rows)
            mirrors = await manager.get_mirrors()
            look.mirrors = [shown_mirror(one, control=self._control) for one in mirrors]
        except (TemporalUnreachable, RPCError) as error:
            look.problem = explained(error)
        now = time.time()
        for row in rows:
            if row["events_behind"] is not None:
                points = self._lags.setdefault(row["projection"], deque(maxlen=_POINTS))
                points.append((round(now, 1), row["events_behind"]))
        look.rows = [
            shown(row | state_of(row), self._known(row, found), control=self._control)
            for row in rows
        ]

    def _known(self, row: Standing, found: Mapping[str, Progress]) -> Progress | None:
        """The progress of a projection's run; while no worker answers for it, as it was last."""
        run, answer = row["run"], found.get(row["projection"])
        if run is None or run["ended_at"] is not None:
            return None
        if answer is not None:
            self._progress[row["projection"]] = run["run_id"], answer
            return answer
        run_id, last = self._progress.get(row["projection"], (None, None))
        if last is None or run_id != run["run_id"]:
            return None
        return last.model_copy(
            update={"events_per_second": 0.0, "estimated_seconds_remaining": None}
        )
