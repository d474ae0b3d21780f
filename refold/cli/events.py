"""events import, events show, events count, events check, events mirror."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from refold.cli.mirrors.command import mirror
from refold.cli.output import FAILED, Json, console, errors, finished, print_json
from refold.cli.rows.values import indented
from refold.cli.status.other_events import tell_if_other_events
from refold.errors import ConfigurationError, InvalidRequest
from refold.event import Event
from refold.runtime.database import autocommit, make_engine
from refold.runtime.settings import load_settings
from refold.source.checking.check import EventsReport, check_events
from refold.source.files.importer import ImportProgress, ImportResult, import_events
from refold.source.log import count_events
from refold.source.port.current import event_source
from refold.source.port.elsewhere import is_elsewhere
from refold.source.reader import read_at
from refold.store.migrate import require_migrated

app = typer.Typer(help="Events, and where they are.", no_args_is_help=True)


@app.command("import")
def import_file(
    file: Annotated[str, typer.Argument(help="NDJSON, plain or .gz; - for standard input.")],
    *,
    again: Annotated[
        bool,
        typer.Option("--again", help="Import the file even if its content was imported before."),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Pass over events whose version their stream already has, if they are the same.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Append the events of a file: all of them, or none.

    A file whose content was imported before is refused.
    """
    result = finished(_import(file, again=again, skip_existing=skip_existing))
    if json:
        print_json(
            {
                "events": result.events,
                "streams": result.streams,
                "first_position": result.first_position,
                "last_position": result.last_position,
                "skipped": result.skipped,
                "is_unanalyzed": result.is_unanalyzed,
            }
        )
    else:
        skipped = f", skipped {result.skipped:,} that were there" if result.skipped else ""
        console.print(f"imported {result.events:,} events of {result.streams:,} streams{skipped}")
        if result.is_unanalyzed:
            console.print(
                "its statistics could not be made anew, so reading may be slow until autovacuum "
                "comes: have the owner of the table of events run `ANALYZE` on it"
            )


async def _import(file: str, *, again: bool, skip_existing: bool) -> ImportResult:
    source = event_source()
    if not source.is_own:
        raise ConfigurationError(
            f"REFOLD_EVENTS: expected Refold's own table to import into, got {source!r}: events "
            "are appended there by its application; unset REFOLD_EVENTS to import into the other"
        )
    if is_elsewhere():
        raise ConfigurationError(
            "REFOLD_EVENTS_URL: expected the events in the database of REFOLD_DATABASE_URL to "
            "import into, got another one: set REFOLD_DATABASE_URL to it for this command, and "
            "unset REFOLD_EVENTS_URL"
        )
    engine = make_engine(load_settings(), activities=0)
    bar = Bar(
        TextColumn("importing"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TextColumn("{task.fields[lines]} events"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )
    try:
        await require_migrated(engine)
        with bar:
            task = bar.add_task("importing", total=None, lines="0")

            def show(progress: ImportProgress) -> None:
                bar.update(
                    task,
                    completed=progress.bytes_read,
                    total=progress.total_bytes,
                    lines=f"{progress.lines:,}",
                )

            return await import_events(
                engine,
                "-" if file == "-" else Path(file),
                again=again,
                skip_existing=skip_existing,
                on_progress=show,
            )
    finally:
        await engine.dispose()


@app.command("show")
def show(
    position: Annotated[
        int, typer.Argument(metavar="POSITION", help="Its place in the log.", show_default=False)
    ],
    *,
    json: Json = False,
) -> None:
    """Show one event, as handlers get it."""
    event = finished(_event(position))
    if json:
        print_json(event._asdict())
        return
    at = f"{event.recorded_at:%Y-%m-%d %H:%M:%S.%f %Z}"
    console.print(f"{event.position:,} {event.type}, {event.stream_id} {event.version}, {at}")
    for name, value in (("data", event.data), ("metadata", event.metadata)):
        console.print(f"{name} {indented(value)}", soft_wrap=True)


async def _event(position: int) -> Event:
    engine = make_engine(load_settings(), activities=0)
    try:
        await tell_if_other_events(engine)
        async with engine.connect() as connection:
            found = await read_at(connection, [position])
    finally:
        await engine.dispose()
    if not found:
        raise InvalidRequest(
            f"position: expected that of an event, got {position}: {event_source()!r} has none "
            "there; positions may have gaps"
        )
    return found[0]


@app.command("count")
def count(*, json: Json = False) -> None:
    """Count the events of the source."""
    counted = finished(_count())
    if json:
        print_json({"events": counted})
    else:
        console.print(f"{counted:,}")


@app.command("check")
def check(*, json: Json = False) -> None:
    """Say where events are, what will be slow, what is refused.

    Exits with 1 when something is refused. Workers look at the same when they start.
    """
    report = finished(_check())
    if json:
        print_json(report)
    else:
        for line in _told(report):
            console.print(line, soft_wrap=True)
    if report.refused:
        raise typer.Exit(FAILED)


app.command("mirror")(mirror)


def _told(report: EventsReport) -> Iterator[str]:
    place = "" if report.database is None else f" in {report.database}"
    head = "" if report.head is None else f", head {report.head}"
    yield f"{report.source}{place}: settles by {report.settles}{head}"
    yield from (f"  {line}" for line in [*report.tables, *report.sequences])
    yield from (f"  {name}: {kind}" for name, kind in report.columns.items())
    yield from (f"  the head waits for {writer}" for writer in report.writing)
    for event in report.events:
        yield "  event " + ", ".join(f"{name} {value}" for name, value in event.items())
    for slow in report.slow:
        yield f"slow: {slow.what}" + (f"\n  {slow.statement};" if slow.statement else "")
    yield from (f"mind: {line}" for line in report.mind)
    yield from (f"refused: {line}" for line in report.refused)
    if not report.refused:
        yield "it can be read"


async def _check() -> EventsReport:
    engine = make_engine(load_settings(), activities=0)
    try:
        await tell_if_other_events(engine)
        looking = autocommit(engine)
        async with looking.connect() as connection:
            return await check_events(connection)
    finally:
        await engine.dispose()


async def _count() -> int:
    engine = make_engine(load_settings(), activities=0)
    try:
        await require_migrated(engine)
        await tell_if_other_events(engine)
        async with engine.connect() as connection:
            return await count_events(connection)
    finally:
        await engine.dispose()
