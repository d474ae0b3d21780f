"""fold: the read model of an event file, in plain Python, without a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.rows.values import cell
from refold.event import Event
from refold.projection.columns.exact_json import loads
from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.settings import load_settings
from refold.source.files.event_lines import EventLines


def fold(
    name: Name,
    *,
    file: Annotated[
        str, typer.Option("--from", help="NDJSON, plain or .gz; - for standard input.")
    ],
    version: Annotated[
        int | None, typer.Option(min=1, help="Whose handlers fold; the highest if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Fold an event file in memory and show the rows.

    There is no database and no Temporal.
    Positions are the numbers of the events in the file.
    """
    folded = finished(_folded(name, version, "-" if file == "-" else Path(file)))
    rows = list(folded.values())
    if json:
        print_json(rows)
        return
    if not rows:
        console.print(f"{name}: no row")
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    console.print(table)


async def _folded(name: str, version: int | None, file: Path | Literal["-"]) -> dict[Key, Row]:
    registry = load_settings().registry()
    projection = registry.get(name)
    if version is not None:
        projection = registry.planned(name, version)
    return projection.fold(_events(file))


def _events(file: Path | Literal["-"]) -> Iterator[Event]:
    now = datetime.now(UTC)
    versions: Counter[str] = Counter()
    position = 0
    with EventLines.open(file) as lines:
        while (batch := lines.next_batch()) is not None:
            for line in batch:
                position += 1
                versions[line.stream_id] = line.version or versions[line.stream_id] + 1
                yield Event(
                    position,
                    line.stream_id,
                    versions[line.stream_id],
                    line.type,
                    loads(line.data),
                    loads(line.metadata),
                    line.recorded_at or now,
                )
