"""Schedules from Python: runs that Temporal starts by the calendar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Unpack

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
)
from temporalio.common import Priority
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import InvalidRequest, NoSchedule, ScheduleExists
from refold.manager.connection import Connection
from refold.manager.run.asked import request_of
from refold.manager.runs import Runs
from refold.messages.markdown import escaped
from refold.messages.schedules import ScheduleInfo
from refold.requests.fairness import fairness_key
from refold.requests.fields import BackfillFields
from refold.requests.runs import BackfillRequest

# Runs that were due while Temporal was down are made up for within this time; older ones are not.
_CATCH_UP = timedelta(days=1)

# Whoever may have made a schedule, `temporal schedule create` or the UI: it is ours by what it
# starts.
_RUNS = ("Backfill", "Rebuild", "Snapshot")


class Schedules:
    """Makes, lists and removes schedules."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs

    async def add_schedule(
        self,
        name: str,
        cron: str,
        request: BackfillRequest | Mapping[str, Any] | None = None,
        *,
        schedule_id: str | None = None,
        time_zone: str | None = None,
        **fields: Unpack[BackfillFields],
    ) -> ScheduleInfo:
        """Lets Temporal start a `Backfill` by the calendar.

        A worker is asked first whether such a run could be carried out. While one run is under
        way, the next is left out; runs that were due while Temporal was down are made up for, one
        day back.

        Args:
            name: The projection.
            cron: Five fields, such as ``0 3 * * *``: minute, hour, day, month, day of the week;
                or ``@daily``, ``@every 30m``, and what else Temporal takes.
            request: What each run is started with; what counts from now, such as the last two
                days, counts from the beginning of each run.
            schedule_id: ``schedule/<projection>`` when left out.
            **fields: Instead of a request: its fields.
            time_zone: Such as ``Europe/Berlin``; UTC when left out.

        Raises:
            RunFailed: Such a run would be refused; the message says why.
            InvalidRequest: Temporal cannot make anything of `cron` or `time_zone`.
            ScheduleExists: There is one of that id.
        """
        whole = request_of(BackfillRequest, name, request, fields)
        await self._runs.plan("Backfill", name, whole)
        made = schedule_id or f"schedule/{name}"
        if whole.requested_by is None:
            whole = whole.model_copy(update={"requested_by": made})
        action = ScheduleActionStartWorkflow(
            "Backfill",
            whole.model_dump(mode="json", exclude_none=True),
            id=f"backfill/{name}",  # Temporal adds the time
            task_queue=self._connection.task_queue,
            static_summary=escaped(f"Backfill of {name}, by {made}"),
            priority=Priority(fairness_key=fairness_key(name, whole.tenant)),
        )
        schedule = Schedule(
            action=action,
            spec=ScheduleSpec(cron_expressions=[cron], time_zone_name=time_zone),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
        )
        try:
            handle = await self._connection.client.create_schedule(made, schedule)
        except ScheduleAlreadyRunningError:
            raise ScheduleExists(made) from None
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise InvalidRequest(
                "cron: expected minute, hour, day, month and day of the week, such as '0 3 * * *', "
                f"and a time zone such as Europe/Berlin, got {cron!r} in {time_zone or 'UTC'}: "
                f"{error.message}"
            ) from None
        return await self._described(await handle.describe())

    async def get_schedules(self, name: str | None = None) -> list[ScheduleInfo]:
        """The schedules that start runs on this task queue, by id, whoever made them.

        A schedule that was made or removed within the last second may not be seen to be so.

        Args:
            name: Of this projection; None for all projections.
        """
        found = []
        async for listed in await self._connection.client.list_schedules():
            started = listed.schedule.action if listed.schedule else None
            if getattr(started, "workflow", None) not in _RUNS:
                continue
            try:
                described = await self._connection.client.get_schedule_handle(listed.id).describe()
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                continue  # removed meanwhile
            if self._is_ours(described):
                found.append(await self._described(described))
        return sorted(
            (one for one in found if name in (None, one.projection)), key=lambda one: one.id
        )

    async def remove_schedule(self, schedule_id: str) -> None:
        """Removes a schedule; a run that it has started goes on.

        Raises:
            NoSchedule: There is none of that id that starts runs on this task queue.
        """
        handle = self._connection.client.get_schedule_handle(schedule_id)
        try:
            if self._is_ours(await handle.describe()):
                await handle.delete()
                return
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        raise NoSchedule(schedule_id, [one.id for one in await self.get_schedules()])

    def _is_ours(self, described: ScheduleDescription) -> bool:
        action = described.schedule.action
        return (
            isinstance(action, ScheduleActionStartWorkflow)
            and action.workflow in _RUNS
            and action.task_queue == self._connection.task_queue
        )

    async def _described(self, described: ScheduleDescription) -> ScheduleInfo:
        action = described.schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow)
        request = await self._request(action)
        recent = described.info.recent_actions
        last = recent[-1] if recent else None
        started = last.action if last else None
        return ScheduleInfo(
            id=described.id,
            projection=str(request.get("projection", "")),
            workflow=action.workflow,
            when=_when(described.schedule.spec),
            time_zone=described.schedule.spec.time_zone_name,
            request=request,
            next_run=next(iter(described.info.next_action_times), None),
            last_run=last.scheduled_at if last else None,
            last_workflow_id=started.workflow_id
            if isinstance(started, ScheduleActionExecutionStartWorkflow)
            else None,
            skipped=described.info.num_actions_skipped_overlap,
            paused=described.schedule.state.paused,
        )

    async def _request(self, action: ScheduleActionStartWorkflow) -> dict[str, Any]:
        payloads = [one for one in action.args if isinstance(one, Payload)]
        given = (
            await self._connection.client.data_converter.decode(payloads)
            if payloads
            else action.args
        )
        # By hand it may have been given anything.
        return given[0] if given and isinstance(given[0], dict) else {}


def _when(spec: ScheduleSpec) -> list[str]:
    """Temporal makes calendars of cron expressions: these are turned back."""
    said = [_as_cron(calendar) for calendar in spec.calendars]
    said += [f"@every {interval.every}" for interval in spec.intervals]
    return [*spec.cron_expressions, *said]


def _as_cron(calendar: ScheduleCalendarSpec) -> str:
    fields = (
        (calendar.minute, 0, 59),
        (calendar.hour, 0, 23),
        (calendar.day_of_month, 1, 31),
        (calendar.month, 1, 12),
        (calendar.day_of_week, 0, 6),
    )
    cron = " ".join(_as_field(ranges, low, high) for ranges, low, high in fields)
    years = ",".join(str(one.start) for one in calendar.year)
    # What a cron expression of five fields cannot say.
    also = [f"in {years}"] if years else []
    if any(one.start or one.end for one in calendar.second):
        also.append(f"second {_as_field(calendar.second, 0, 59)}")
    return f"{cron} ({', '.join(also)})" if also else cron


def _as_field(ranges: Sequence[ScheduleRange], low: int, high: int) -> str:
    parts = []
    for one in ranges:
        # An end of 0 is none: the range is its start only; so is a step of 0.
        end, step = max(one.start, one.end), max(1, one.step)
        whole = "*" if (one.start, end) == (low, high) else f"{one.start}-{end}"
        plain = str(one.start) if one.start == end else whole
        parts.append(plain if step == 1 or one.start == end else f"{whole}/{step}")
    return ",".join(parts)
