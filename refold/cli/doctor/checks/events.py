"""Where events are, and who keeps the head from moving."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.cli.doctor.finding import Finding, mind, ok, wrong
from refold.cli.doctor.look import Look
from refold.cli.output import length_of
from refold.source.checking.check import EventsReport, check_events
from refold.source.port.current import use_source

# With fewer, it does not matter, and PostgreSQL analyzes the table by itself in a while.
_MANY_EVENTS = 10_000
_PREPARED = text(
    """
    SELECT gid, owner::text AS owner, prepared, clock_timestamp() AS now FROM pg_prepared_xacts
    WHERE database = current_database() ORDER BY prepared
    """
)


async def events(look: Look) -> list[Finding]:
    """Whether the event source can be read, and quickly; see `refold events check`."""
    use_source(look.settings)
    async with look.connected() as connection:
        report = await check_events(connection)
    found = [wrong(f"{report.source}: {refused}") for refused in report.refused]
    found += [
        mind(f"{report.source}: slow: {slow.what}", slow.statement or "")
        for slow in report.slow
        if _has_many(report) or not (slow.statement or "").startswith("ANALYZE")
    ]
    found += [mind(f"{report.source}: {line}") for line in report.mind]
    return found or [ok(f"{report.source}: it can be read, head {report.head}")]


def _has_many(report: EventsReport) -> bool:
    return report.head is not None and report.head > _MANY_EVENTS


async def head(look: Look) -> list[Finding]:
    """Whether a session has kept the head from moving for long."""
    source = use_source(look.settings)
    async with look.connected() as connection:
        now = await _now(connection)
        writers = await source.settled.writers(connection, source)
    found = []
    for writer in writers:
        age = 0.0 if writer.since is None else (now - writer.since).total_seconds()
        # A prepared transaction has a check of its own.
        if writer.pid is None or age < look.frozen_seconds:
            continue
        named = f" ({writer.name})" if writer.name else ""
        found.append(
            wrong(
                f"session {writer.pid}{named} has had a transaction open for {length_of(age)} in "
                "which it may append: what was appended since is read by nobody",
                f"let its application commit, or SELECT pg_terminate_backend({writer.pid})",
            )
        )
    return found or [ok("no session keeps it from moving")]


async def prepared(look: Look) -> list[Finding]:
    """Whether prepared transactions wait for somebody: they hold their locks over restarts."""
    async with look.connected() as connection:
        rows = (await connection.execute(_PREPARED)).all()
    found = []
    for row in rows:
        age = (row.now - row.prepared).total_seconds()
        if age >= look.frozen_seconds:
            gid = "'" + row.gid.replace("'", "''") + "'"
            found.append(
                wrong(
                    f"prepared transaction {gid} of {row.owner} is {length_of(age)} old: it holds "
                    "its locks, and the head if it has appended",
                    f"COMMIT PREPARED {gid}; or ROLLBACK PREPARED {gid}",
                )
            )
    return found or [ok("none is old")]


async def _now(connection: AsyncConnection) -> datetime:
    now = await connection.scalar(text("SELECT clock_timestamp()"))
    assert isinstance(now, datetime)
    return now
