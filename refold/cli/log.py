"""log: shows the system events of projections."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.table import Table

from refold.cli.output import Json, console, finished, print_json
from refold.cli.runs.follow import make_manager
from refold.messages.recorded_event import RecordedEvent


def log(
    name: Annotated[str | None, typer.Argument(help="One projection; all if left out.")] = None,
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many of the latest to show.")
    ] = 50,
    json: Json = False,
) -> None:
    """Show what has happened to projections: system events."""

    async def look() -> list[RecordedEvent]:
        return await (await make_manager()).get_system_events(name, limit=limit)

    found = finished(look())
    if json:
        print_json(found)
        return
    table = Table("recorded", "projection", "number", "system event", "what", box=None)
    for index in (0, 1, 3):
        table.columns[index].no_wrap = True
    for event in found:
        table.add_row(
            f"{event.recorded_at:%Y-%m-%d %H:%M:%S}",
            event.projection,
            str(event.number),
            event.type,
            _what(event),
        )
    console.print(table)


def _what(event: RecordedEvent) -> str:
    told = {name: value for name, value in event.data.items() if value is not None}
    if event.correlation_id is not None:
        told["correlation_id"] = event.correlation_id
    return ", ".join(f"{name} {_text(value)}" for name, value in told.items())


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
