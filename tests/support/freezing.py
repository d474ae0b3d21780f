"""A read model whose worker freezes after a chosen statement, for REFOLD_PROJECTIONS of processes.

As long as the file FREEZE_FILE holds a pattern, the first statement of a process that it fits stops
the process just after it: with its transaction open, its locks held. The file is removed before.
It may hold a number, too, of the statement after which the process stops.
All processes lose patience with who is silent sooner than others do.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from refold import ProjectionBackfillCompleted, SystemEventContext, on_system_event
from refold.store.sessions import takeover
from refold.worker.chores import stalls
from tests.support.counting import counting

__all__ = ["counting"]


@on_system_event(ProjectionBackfillCompleted)
async def noted(event: ProjectionBackfillCompleted, context: SystemEventContext) -> None:
    """Takes what it is given."""


_file = Path(os.environ["FREEZE_FILE"]) if "FREEZE_FILE" in os.environ else None


_numbers = itertools.count(1)


def _fits(place: str, statement: str) -> bool:
    if place.isdecimal():
        return next(_numbers) >= int(place)
    return re.search(place, " ".join(statement.split())) is not None


def _maybe_freeze(statement: str) -> None:
    assert _file is not None
    if _file.exists() and _fits(_file.read_text(), statement):
        _file.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


def _freezing(owner: Any, name: str, said: Callable[..., str]) -> None:
    original = getattr(owner, name)

    async def then_maybe_freeze(self: Any, *args: Any, **options: Any) -> Any:
        result = await original(self, *args, **options)
        _maybe_freeze(said(self, *args))
        return result

    setattr(owner, name, then_maybe_freeze)


if _file is not None:
    for _name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        _freezing(asyncpg.Connection, _name, lambda _, query, *args: str(query))
    for _name in ("fetch", "fetchrow", "fetchval", "executemany"):
        _freezing(PreparedStatement, _name, lambda self, *_: str(self.get_query()))
    _freezing(asyncpg.Connection, "copy_records_to_table", lambda _, table, **_o: f"COPY {table}")
    takeover._GRACE_SECONDS = 2.0
    stalls._GRACE_SECONDS = 4.0
