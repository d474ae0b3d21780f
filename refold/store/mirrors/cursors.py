"""What is done with a row of `refold.mirrors`: taken, moved under its fence, given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import ColumnElement, Double, and_, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import Fenced, MirrorBusy
from refold.store.leases import SILENCE_SECONDS, moment
from refold.store.mirrors.table import mirrors

SEEN_SECONDS = 15.0
"""So often a mirror that has nothing to copy shows itself."""

_LOCK = "SELECT FROM refold.mirrors WHERE mirror = $1 AND fence = $2 FOR UPDATE"
_MOVE = """
    UPDATE refold.mirrors SET cursor = $3::jsonb, events = events + $4,
        position = coalesce($5, position), recorded_at = coalesce($6, recorded_at),
        caught_up = $7, seen_at = clock_timestamp(),
        paced_until = greatest(paced_until, clock_timestamp()) + make_interval(secs => $8)
    WHERE mirror = $1 AND fence = $2
    RETURNING extract(epoch FROM paced_until - clock_timestamp())::float8
"""
_SHOW = """
    UPDATE refold.mirrors SET caught_up = $3, seen_at = clock_timestamp()
    WHERE mirror = $1 AND fence = $2 RETURNING fence
"""


@dataclass(frozen=True)
class Taken:
    """A mirror that an attempt has taken over.

    Attributes:
        mirror: Its name.
        fence: Its number, above that of every attempt before.
        cursor: How far it has copied; None for nothing yet.
        paused_seconds: How long its rate has it wait before the next batch.
    """

    mirror: str
    fence: int
    cursor: Any
    paused_seconds: float


@dataclass(frozen=True)
class MirrorRow:
    """How a mirror stands in the database; see `refold.store.mirrors.table`.

    Attributes:
        lag_seconds: Age of the last event that was copied, by `recorded_at`; 0 when the source had
            no more.
    """

    mirror: str
    source: str
    cursor: Any
    events: int
    position: int | None
    recorded_at: datetime | None
    caught_up: bool
    workflow_id: str
    namespace: str
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    lag_seconds: float | None


async def take(
    connection: AsyncConnection,
    mirror: str,
    *,
    source: str,
    workflow_id: str,
    namespace: str,
    installation: str | None,
    requested_by: str | None,
) -> Taken:
    """Takes a mirror over: attempts before this one write nothing any more.

    Temporal has one workflow of an id at a time, so that id and installation name its holder.

    Raises:
        MirrorBusy: One of another id or installation holds it, and has shown itself lately.
    """
    here = {
        "source": source,
        "workflow_id": workflow_id,
        "namespace": namespace,
        "installation": installation,
    }
    statement = insert(mirrors).values(mirror=mirror, requested_by=requested_by, fence=1, **here)
    taken = statement.on_conflict_do_update(
        index_elements=[mirrors.c.mirror],
        set_={
            **here,
            "requested_by": func.coalesce(statement.excluded.requested_by, mirrors.c.requested_by),
            "fence": mirrors.c.fence + 1,
            "seen_at": func.clock_timestamp(),
            "ended_at": None,
        },
        where=or_(_is_held_by(here), mirrors.c.ended_at.is_not(None), _is_silent()),
    ).returning(
        mirrors.c.fence, mirrors.c.cursor, _seconds(mirrors.c.paced_until - func.clock_timestamp())
    )
    row = (await connection.execute(taken)).first()
    if row is None:
        raise await _busy(connection, mirror)
    return Taken(mirror, row[0], row[1], max(0.0, row[2] or 0.0))


def _is_held_by(here: Mapping[str, Any]) -> ColumnElement[bool]:
    columns = ("workflow_id", "namespace", "installation")
    return and_(*[mirrors.c[name].is_not_distinct_from(here[name]) for name in columns])


def _is_silent() -> ColumnElement[bool]:
    silence = func.make_interval(0, 0, 0, 0, 0, 0, SILENCE_SECONDS)
    silent: ColumnElement[bool] = mirrors.c.seen_at < func.clock_timestamp() - silence
    return silent


def _seconds(interval: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(func.extract("epoch", interval), Double)


async def _busy(connection: AsyncConnection, mirror: str) -> MirrorBusy:
    columns = mirrors.c.workflow_id, mirrors.c.namespace, mirrors.c.seen_at
    held = (await connection.execute(select(*columns).where(mirrors.c.mirror == mirror))).one()
    return MirrorBusy(mirror, held.workflow_id, held.namespace, moment(held.seen_at))


# -- under its fence ---------------------------------------------------------------------------


async def lock(connection: asyncpg.Connection[Any], mirror: str, fence: int) -> None:
    """Locks a mirror until the transaction ends, before anything is written.

    Raises:
        Fenced: Another attempt has taken it over.
    """
    if not await connection.fetch(_LOCK, mirror, fence):
        raise _fenced(mirror)


async def move(
    connection: asyncpg.Connection[Any],
    taken: Taken,
    cursor: str,
    *,
    events: int,
    position: int | None,
    recorded_at: datetime | None,
    caught_up: bool,
    seconds: float,
) -> float:
    """Moves the cursor, in the transaction that writes the events up to it.

    Args:
        connection: In that transaction.
        taken: The mirror.
        cursor: Of the last event, as JSON.
        events: How many are copied.
        position: Of the last one; None for none.
        recorded_at: When it was recorded.
        caught_up: Whether the source has no more for now.
        seconds: How much time these events take, by the mirror's rate.

    Returns:
        How long to wait before the next batch, in seconds.

    Raises:
        Fenced: Another attempt has taken the mirror over.
    """
    waits: float | None = await connection.fetchval(
        _MOVE,
        *(taken.mirror, taken.fence, cursor),
        *(events, position, recorded_at, caught_up, seconds),
    )
    if waits is None:
        raise _fenced(taken.mirror)
    return waits


async def show(connection: asyncpg.Connection[Any], taken: Taken, *, caught_up: bool) -> None:
    """Shows that a mirror is alive.

    Raises:
        Fenced: Another attempt has taken it over.
    """
    if await connection.fetchval(_SHOW, taken.mirror, taken.fence, caught_up) is None:
        raise _fenced(taken.mirror)


def _fenced(mirror: str) -> Fenced:
    return Fenced(f"mirror {mirror!r}: another attempt has taken it over")


# -- from outside ------------------------------------------------------------------------------


async def end(connection: AsyncConnection, mirror: str, *, workflow_id: str) -> None:
    """Notes that a mirror was cancelled; no attempt of it writes any more. The cursor stays."""
    statement = update(mirrors).where(
        mirrors.c.mirror == mirror, mirrors.c.workflow_id == workflow_id
    )
    await connection.execute(
        statement.values(fence=mirrors.c.fence + 1, ended_at=func.clock_timestamp())
    )


async def rows(connection: AsyncConnection, mirror: str | None = None) -> list[MirrorRow]:
    """The mirrors, or one of them, by name."""
    names = [name for name in MirrorRow.__dataclass_fields__ if name != "lag_seconds"]
    age = _seconds(func.clock_timestamp() - mirrors.c.recorded_at).label("age")
    statement = select(*[mirrors.c[name] for name in names], age).order_by(mirrors.c.mirror)
    if mirror is not None:
        statement = statement.where(mirrors.c.mirror == mirror)
    return [_row(**row._mapping) for row in await connection.execute(statement)]


def _row(age: float | None, **columns: Any) -> MirrorRow:
    return MirrorRow(**columns, lag_seconds=0.0 if columns["caught_up"] else age)
