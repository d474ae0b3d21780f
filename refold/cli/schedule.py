"""schedule: adds, lists and removes backfills that Temporal starts by the calendar."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import orjson
import typer
from rich.table import Table

from refold.cli.options import Fields, with_options
from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.runs.follow import make_manager
from refold.cli.runs.requests import backfill_request, holds_back, how, what_to_repair, where_to
from refold.messages.schedules import ScheduleInfo

app = typer.Typer(help="Backfills by the calendar.", no_args_is_help=True)


@app.command()
@with_options(what_to_repair, where_to, how, holds_back)
def add(
    name: Name,
    fields: Fields,
    *,
    cron: Annotated[
        str,
        typer.Option(help="When: minute, hour, day, month, day of the week.", show_default=False),
    ],
    time_zone: Annotated[
        str | None, typer.Option(help="Such as Europe/Berlin; UTC if left out.")
    ] = None,
    schedule_id: Annotated[
        str | None, typer.Option("--id", help="schedule/NAME if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Backfill a read model again and again.

    A worker first checks that this can be done.
    """
    request = backfill_request(name, fields)

    async def go() -> ScheduleInfo:
        manager = await make_manager()
        return await manager.add_schedule(
            name, cron, request, schedule_id=schedule_id, time_zone=time_zone
        )

    made = finished(go())
    if json:
        print_json(made)
    else:
        console.print(f"{made.id}: the first run is at {_moment(made.next_run)}")


@app.command("list")
def list_(*, json: Json = False) -> None:
    """List all schedules that start runs.

    Also those that Refold did not make.
    """

    async def look() -> list[ScheduleInfo]:
        return await (await make_manager()).get_schedules()

    found = finished(look())
    if json:
        print_json(found)
    else:
        _show(found)


@app.command()
def remove(
    schedule_id: Annotated[
        str, typer.Argument(metavar="ID", help="The schedule's id.", show_default=False)
    ],
    *,
    json: Json = False,
) -> None:
    """Remove a schedule; a run that it has started goes on."""

    async def go() -> None:
        await (await make_manager()).remove_schedule(schedule_id)

    finished(go())
    if json:
        print_json({"id": schedule_id, "removed": True})
    else:
        console.print(f"{schedule_id} is removed")


def _show(found: list[ScheduleInfo]) -> None:
    table = Table("id", "projection", "when", "next run", "last run", "request", box=None)
    for schedule in found:
        asked = {key: value for key, value in schedule.request.items() if key != "projection"}
        zone = f" {schedule.time_zone}" if schedule.time_zone else ""
        table.add_row(
            schedule.id,
            schedule.projection,
            f"{', '.join(schedule.when)}{zone}",
            "paused" if schedule.paused else _moment(schedule.next_run),
            _moment(schedule.last_run),
            f"{schedule.workflow} {orjson.dumps(asked).decode()}",
        )
    console.print(table)


def _moment(at: datetime | None) -> str:
    return "none" if at is None else f"{at:%Y-%m-%d %H:%M:%S %Z}"
