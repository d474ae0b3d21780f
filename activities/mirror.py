"""A mirror: copies events from elsewhere into the log, as they come."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import NoReturn

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating, place
from refold.engine.lifecycle.lease_standing import Executions
from refold.engine.mirroring.copying import Copied, Copying
from refold.engine.step import Step
from refold.errors import MirrorNotHere, UnknownMirror
from refold.messages.mirrors import EndMirror, MirrorReport, MirrorSegment
from refold.runtime.settings import Settings
from refold.runtime.temporal.search_attributes import Listing
from refold.source.mirrors.named import NamedMirrors
from refold.source.mirrors.protocol import MirrorSource
from refold.store.mirrors import cursors
from refold.store.mirrors.cursors import Taken
from refold.store.mirrors.table import mirrors
from refold.store.sessions.takeover import take_over


class MirrorActivities:
    """The activities of mirrors.

    Args:
        engine: The database.
        settings: What mirrors there are, and the lengths of things.
        executions: Says which installation this is.
    """

    def __init__(self, engine: AsyncEngine, settings: Settings, executions: Executions) -> None:
        self._engine = engine
        self._named = NamedMirrors(settings.mirrors)
        self._heartbeat_seconds = settings.heartbeat_timeout_seconds
        self._patience = settings.deployment_seconds
        self._executions = executions
        self._listing = Listing()

    @activity.defn
    async def copy_events(self, segment: MirrorSegment) -> MirrorReport:
        """Copies events for so many seconds; each batch and its cursor are one transaction.

        Raises:
            UnknownMirror: No worker has a mirror of that name.
            MirrorNotHere: This worker does not have it.
            MirrorBusy: Another installation copies under the same name.
            MirrorConflict: The log has an event already where one is to land.
            UnreadableEvent: An event cannot be read, or stored.
            MirrorSourceFailed: The source does not answer.
        """
        source = self._source(segment.mirror)
        async with heartbeating(self._engine, activity.info().workflow_run_id or "") as beat:
            taken = await self._take(segment)
            async with self._engine.connect() as writer:
                copied = await self._copy(writer, source, taken, segment, beat)
            report = await self._report(segment.mirror, copied)
        listed = await self._listing.is_there(activity.client)
        return report.model_copy(update={"is_listed": listed})

    @activity.defn
    async def end_mirror(self, ended: EndMirror) -> None:
        """Notes that a mirror was cancelled; its cursor stays for one that goes on later."""
        async with heartbeating(self._engine, activity.info().workflow_run_id or ""):
            await take_over(self._engine, mirrors, mirrors.c.mirror == ended.mirror)
            async with self._engine.begin() as connection:
                workflow_id = activity.info().workflow_id or ""
                await cursors.end(connection, ended.mirror, workflow_id=workflow_id)

    def _source(self, name: str) -> MirrorSource:
        try:
            return self._named.get(name)
        except UnknownMirror as error:
            _leave(error, name, self._patience)

    async def _take(self, segment: MirrorSegment) -> Taken:
        own = await self._executions.installation()
        await take_over(self._engine, mirrors, mirrors.c.mirror == segment.mirror)
        async with self._engine.begin() as connection:
            return await cursors.take(
                connection,
                segment.mirror,
                source=self._named.places[segment.mirror],
                workflow_id=activity.info().workflow_id or "",
                namespace=own.namespace,
                installation=own.id,
                requested_by=segment.requested_by,
            )

    async def _copy(
        self,
        writer: AsyncConnection,
        source: MirrorSource,
        taken: Taken,
        segment: MirrorSegment,
        beat: Step,
    ) -> Copied:
        copying = Copying(writer, source, taken, segment.limits, beat, was_live=segment.was_live)
        try:
            return await copying.copy(segment.seconds)
        except asyncio.CancelledError:
            if not activity.is_cancelled():
                raise
            # It was paused, or is to go at another pace: what it has copied is told all the same.
            return copying.so_far()

    async def _report(self, name: str, copied: Copied) -> MirrorReport:
        async with self._engine.connect() as connection:
            (row,) = await cursors.rows(connection, name)
            now: datetime | None = await connection.scalar(select(func.clock_timestamp()))
        assert now is not None
        return MirrorReport(
            events=copied.events,
            seconds=copied.seconds,
            total_events=row.events,
            position=row.position,
            caught_up=copied.caught_up,
            lag_seconds=row.lag_seconds,
            at=now,
            heartbeat_seconds=self._heartbeat_seconds,
        )


def _leave(error: UnknownMirror, name: str, patience: float) -> NoReturn:
    """Leaves the step to a worker that has the mirror; fails once that has taken too long."""
    here = place()
    since = here.lacking_since or time.time()
    until = since + patience
    here.note_lacking(since)
    if time.time() >= until:
        raise error
    raise MirrorNotHere(
        f"worker {here.worker} does not have mirror {name!r}: the step is left to one that does "
        f"until {datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC: start one with REFOLD_MIRRORS "
        "set, or cancel"
    ) from error
