"""`refold events check`: what a source is, what will be slow, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, DateTime, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import ConfigurationError, UnreadableEvent
from refold.runtime.database import server_error
from refold.source.checking import catalogue
from refold.source.checking.catalogue import Relation
from refold.source.head import PATIENCE_ELSEWHERE, SettledHead
from refold.source.port.current import OWN, event_source
from refold.source.port.elsewhere import is_elsewhere, reads_events
from refold.source.port.event_source import EventSource
from refold.source.portions import weighed
from refold.source.reader import read_events
from refold.source.settled.locks import Locks, written
from refold.source.settled.patience import Patience
from refold.store.gaps import late_events

# Without a unique index, so many of the last events are looked at.
_LOOKED_AT = 10_000
# Where somebody always writes, one look finds an open transaction nearly every time.
_SETTLING_SECONDS = 1.0


@dataclass
class Slow:
    """What will be slow, and the statement that mends it, if one does."""

    what: str
    statement: str | None = None


@dataclass
class EventsReport:
    """What was found.

    Attributes:
        source: Its name.
        database: Where it is, if not in the read models' database: server and name.
        tables: What it selects from: kind, rows, partitions, who may write.
        columns: The type of each of Refold's columns, as PostgreSQL has it.
        settles: How its head settles.
        sequences: Where positions may come from.
        writing: The open transactions that the head waits for.
        head: The settled head; None when it could not be found out.
        events: The first event and the last one: position, type, stream, time and fields of data.
        slow: What will be slow.
        mind: What is to be known.
        refused: Why it cannot be read; empty when it can.
    """

    source: str
    database: str | None = None
    tables: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    settles: str = ""
    sequences: list[str] = field(default_factory=list)
    writing: list[str] = field(default_factory=list)
    head: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    slow: list[Slow] = field(default_factory=list)
    mind: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@reads_events
async def check_events(connection: AsyncConnection) -> EventsReport:
    """Looks at this process's event source; nothing is changed.

    Args:
        connection: In autocommit.
    """
    source = event_source()
    report = EventsReport(source=source.name, settles=type(source.settled).__name__)
    if is_elsewhere():
        url = connection.engine.url
        report.database = f"{url.host or 'the local server'}:{url.port}/{url.database}"
    look = _Look(connection, source, report)
    if await look.at_tables() and await look.at_columns():
        await look.at_positions()
        await look.at_settling()
        await look.at_events()
    return report


async def require_readable(connection: AsyncConnection) -> None:
    """Requires that nothing of the source is refused; Refold's own table is taken as it is.

    Raises:
        ConfigurationError: It cannot be read; the message has all reasons.
    """
    if event_source().is_own and not is_elsewhere():
        return
    report = await check_events(connection)
    if report.refused:
        raise ConfigurationError(
            f"REFOLD_EVENTS: {report.source} cannot be read: {'; '.join(report.refused)} "
            "(`refold events check` says more)"
        )


class _Look:
    def __init__(
        self, connection: AsyncConnection, source: EventSource, report: EventsReport
    ) -> None:
        self._connection = connection
        self._source = source
        self._report = report
        self._by_name: dict[str, Relation] = {}

    async def at_tables(self) -> bool:
        """What the select is made of; False when it cannot be selected from."""
        report = self._report
        for table in self._source.tables:
            name = written(table)
            found = await catalogue.relation(self._connection, name)
            if found is None:
                report.refused.append(f"there is no table {name}: expected it in this database")
                continue
            self._by_name[name] = found
            kind = catalogue.KINDS.get(found.kind, found.kind)
            parts = f", {found.partitions} partitions" if found.partitions else ""
            rows = "not counted" if found.rows < 0 else f"about {found.rows:,} rows"
            report.tables.append(
                f"{name}: {kind}{parts}, {rows}; may write: {', '.join(found.writers)}"
            )
            if not found.may_read:
                report.refused.append(
                    f"this role may not read {name}: GRANT USAGE on its schema and SELECT on it"
                )
            if found.kind in (catalogue.MATERIALIZED, catalogue.FOREIGN):
                report.refused.append(
                    f"{name} is a {kind}, which does not show who may still append: select from "
                    "the table behind it"
                )
            if found.subscribed:
                report.refused.append(
                    f"{name} is written by a subscription, which does not show who may still "
                    "append: read it where it is published"
                )
            if found.rows < 0 and found.kind != catalogue.VIEW:
                report.slow.append(
                    Slow(what=f"{name} was never analyzed", statement=f"ANALYZE {name}")
                )
        return not report.refused

    async def at_columns(self) -> bool:
        """Whether the select works, and the types that its columns have."""
        told = {*OWN.events.c.keys(), "tenant"}  # and not how they travel
        columns = [column for column in self._source.events.c if column.name in told]
        types = [func.pg_typeof(column).label(column.name) for column in columns]
        none = select(func.count().label("n")).select_from(self._source.events).limit(0)
        try:
            await self._connection.execute(none)
            shown = select(*types).select_from(self._source.events).limit(1)
            row = (await self._connection.execute(shown)).one_or_none()
        except DBAPIError as error:
            self._report.refused.append(f"PostgreSQL refuses the select: {server_error(error)}")
            return False
        self._report.columns = {} if row is None else {k: str(v) for k, v in row._mapping.items()}
        return True

    async def at_positions(self) -> None:
        """Whether positions are unique, there, and quickly found."""
        source, column = self._source, self._source.events.c.position
        lowest = await self._scalar(select(func.min(column)))
        if lowest is not None and lowest <= source.before:
            self._report.refused.append(
                f"position {lowest}: expected {source.before + 1} or more, as the EventSource says"
            )
        lacking = select(column).where(column.is_(None)).limit(1)
        if (await self._connection.execute(lacking)).one_or_none() is not None:
            self._report.refused.append("an event without a position: leave it out with a WHERE")
        table = source.sampled_table
        found = None if table is None else self._by_name.get(written(table))
        name = getattr(source.position, "name", None)
        if found is None or table is None or found.kind == catalogue.VIEW or name is None:
            self._report.mind.append(
                "positions are not a column of a table: whether they are indexed is not known, and "
                "partitions of work are cut by reading all events"
            )
        elif name not in found.leading:
            # On a partitioned table, neither can be.
            unique, how = ("", "") if found.partitions else ("UNIQUE ", " CONCURRENTLY")
            self._report.slow.append(
                Slow(
                    what=f"positions have no index in {found.name}: each batch reads all of it",
                    statement=f"CREATE {unique}INDEX{how} ON {found.name} ({name})",
                )
            )
        if found is None or name not in found.unique:
            await self._look_for_twins()
        if found is not None and source.has_times:
            self._at_times(found)

    async def _look_for_twins(self) -> None:
        column = self._source.events.c.position
        last = select(column).order_by(column.desc()).limit(_LOOKED_AT).subquery()
        twins = select(last.c.position).group_by(last.c.position).having(func.count() > 1).limit(1)
        found = await self._scalar(twins)
        if found is not None:
            self._report.refused.append(
                f"position {found} is that of several events: expected unique positions. A store "
                "with a sequence for each tenant has none; give the table one of its own (ALTER "
                "TABLE … ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY)"
            )

    def _at_times(self, found: Relation) -> None:
        column = self._source.recorded_at
        if not isinstance(column, Column):
            return
        if any(column.name in index for index in found.indexes):
            return
        indexed = column.name
        if isinstance(column.type, DateTime) and not column.type.timezone:
            indexed = f"({column.name} AT TIME ZONE 'UTC')"
        self._report.slow.append(
            Slow(
                what=f"times have no index in {found.name}: what asks by date reads all of it",
                statement=f"CREATE INDEX ON {found.name} ({indexed})",
            )
        )

    async def at_settling(self) -> None:
        """Who may still append, and whether that can be known."""
        settling = self._source.settled
        if isinstance(settling, Locks):
            watched = settling.watched(self._source)
            gone = await catalogue.missing(self._connection, watched["sequences"])
            if gone:
                self._report.refused.append(f"there is no sequence {gone[0]}: Locks names it")
                return
            if await self._scalar(text("SELECT pg_is_in_recovery()")):
                self._report.refused.append("a standby does not show who may still append")
            await self._at_sequences(watched)
        if isinstance(settling, Patience) and is_elsewhere():
            self._report.refused.append(PATIENCE_ELSEWHERE)
            return
        if isinstance(settling, Patience) and not await self._at_gaps(settling):
            return
        head = SettledHead(records=False)
        self._report.head = await head.wait(self._connection, seconds=_SETTLING_SECONDS)
        self._report.writing = [str(writer) for writer in head.waiting_for]

    async def _at_gaps(self, patience: Patience) -> bool:
        if await catalogue.missing(self._connection, ["refold.passed_gaps"]):
            self._report.mind.append(
                "gaps in the positions are recorded in Refold's own tables, which are not there "
                "yet: the head is told after `refold migrate`"
            )
            return False
        gaps, positions, late = await late_events.counted(self._connection, self._source.name)
        self._report.mind.append(
            f"gaps in the positions are waited for {patience.seconds:g} s, and looked at again for "
            f"{patience.again_seconds:g} s: {gaps:,} gaps of {positions:,} positions now, and "
            f"{late:,} late events are known; an event that appears even later is missed"
        )
        return True

    async def _at_sequences(self, watched: dict[str, list[str]]) -> None:
        found = await catalogue.sequences(self._connection, watched)
        if not found:
            self._report.mind.append(
                "no sequence was found that positions come from: if there is one, name it, "
                "Locks(sequences=[…]); if there is none, writers must lock what they read first"
            )
        for one in found:
            told = f"{one.name}: cache {one.cache}, increment {one.increment}"
            self._report.sequences.append(told)
            if one.cache > 1:
                self._report.refused.append(
                    f"sequence {one.name} has CACHE {one.cache}: sessions draw positions in "
                    f"advance, and events would be missed: ALTER SEQUENCE {one.name} CACHE 1, or "
                    "settled=Patience()"
                )
            if one.increment > 1:
                self._report.mind.append(
                    f"sequence {one.name} grows by {one.increment}: an application that draws so "
                    "many positions at a time (Hibernate's pooled optimizer) holds no lock for "
                    "them, and events would be missed: then it is settled=Patience()"
                )

    async def at_events(self) -> None:
        """The first event and the last one."""
        position = self._source.events.c.position
        for order in (position.asc(), position.desc()):
            one = select(weighed()).order_by(order).limit(1)
            try:
                read = await read_events(self._connection, one)
            except UnreadableEvent as error:
                self._report.mind.append(str(error))
                continue
            except DBAPIError as error:
                self._report.refused.append(f"PostgreSQL cannot read: {server_error(error)}")
                return
            self._report.events += [
                {
                    "position": event.position,
                    "type": event.type,
                    "stream_id": event.stream_id,
                    "version": event.version,
                    "recorded_at": event.recorded_at.isoformat(),
                    "data": sorted(event.data) if isinstance(event.data, dict) else "no object",
                    "metadata": sorted(event.metadata),
                }
                for event in read
            ]

    async def _scalar(self, statement: Any) -> Any:
        return await self._connection.scalar(statement)
