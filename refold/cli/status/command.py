"""status: how each projection stands, on one page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from refold.cli.mirrors.shown import as_rows, show_mirrors
from refold.cli.options import known_names
from refold.cli.output import Json, Tenant, console, finished, length_of, print_json
from refold.cli.runs.follow import approval_hint
from refold.cli.status.state import Standing, is_being_rebuilt
from refold.messages.live import LiveStatus
from refold.messages.run.status import RunStatus

if TYPE_CHECKING:
    from refold.manager.mirroring.health import MirrorHealth

_LOOK_SECONDS = 2.0


def status(
    name: Annotated[
        str | None,
        typer.Argument(help="One projection; all if left out.", autocompletion=known_names),
    ] = None,
    *,
    tenant: Tenant = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Show how projections and mirrors stand, and what to type."""
    if watch:
        _watch(name, tenant, json=json)
        return
    found, mirrors = finished(_look(name, tenant))
    if json:
        print_json([*found, *as_rows(mirrors)])
        return
    console.print(_page(found, whole=name is not None))
    show_mirrors(mirrors)


async def _look(name: str | None, tenant: str | None) -> tuple[list[Standing], list[MirrorHealth]]:
    from refold.cli.status.mirrors import mirrors_of_all

    return await _standing(name, tenant), [] if name is not None else await mirrors_of_all()


async def _standing(name: str | None, tenant: str | None) -> list[Standing]:
    from refold.cli.status.standing import standing_of

    return await standing_of(name, tenant)


def _watch(name: str | None, tenant: str | None, *, json: bool) -> None:
    if json or not console.is_terminal:
        while True:
            found = finished(_standing(name, tenant))
            print_json(found) if json else console.print(_page(found, whole=name is not None))
            time.sleep(_LOOK_SECONDS)
    try:
        with Live(console=console, auto_refresh=False) as page:
            while True:
                found = finished(_standing(name, tenant))
                page.update(_page(found, whole=name is not None), refresh=True)
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return


def _page(found: list[Standing], *, whole: bool) -> Group:
    table = Table("projection", "state", "since", "lag", "rows", "version", "next", box=None)
    table.columns[0].no_wrap = True
    for row in found:
        table.add_row(
            row["projection"],
            row["state"],
            _ago(row["since"]),
            _lag(row),
            _text(row["rows"]),
            _versions(row),
            row["next_command"] or "",
        )
    more = [_details(row) for row in found] if whole else []
    lines = [Text(line) for line in dict.fromkeys(_lines(found))]
    return Group(table, *more, *lines)


def _details(row: Standing) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    built = f" (built by version {row['generation_version']})"
    table.add_row(
        "generation", "none" if row["generation"] is None else f"{row['generation']}{built}"
    )
    table.add_row("checkpoint", f"{_text(row['position'])} of {_text(row['head'])}")
    table.add_row("versions", ", ".join(map(str, row["versions"])))
    table.add_row("rollback to", ", ".join(map(str, row["rollback_to"])) or "none")
    table.add_row("dead letters", _text(row["dead_letters"]))
    due = row["next_schedule"]
    table.add_row("next schedule", "none" if due is None else f"{due:%Y-%m-%d %H:%M:%S %Z}")
    table.add_row("held by", row["held_by"] or "nobody")
    table.add_row("latest run", _run_text(row["run"]))
    return table


def _lines(found: list[Standing]) -> Iterator[str]:
    for row in found:
        name, run = row["projection"], row["run"]
        yield from (f"{name}: {failing}" for failing in row["failing"])
        if run is not None and (run["ended_at"] is None or run["status"] == RunStatus.FAILED):
            yield f"{name}: {_run_text(run)}"
        if run is not None and run["status"] == RunStatus.AWAITING_APPROVAL:
            yield approval_hint(name)
        if row["live"] is not None and not is_being_rebuilt(row):
            yield from (f"{name}: {why}" for why in _of_live(row["live"]))
        if row["dead_letters"]:
            yield f"{name}: dead letters: {row['dead_letters']:,}"
    for row in found:
        for left in row["left_behind"]:
            whose = f"{left['projection']}: " if left["projection"] else ""
            since = f"{left['since']:%Y-%m-%d %H:%M:%S}"
            yield f"{whose}{left['item']}, since {since}: {left['reason']}"


def _of_live(live: dict[str, Any]) -> Iterator[str]:
    if live["error"] is not None:
        yield f"live: {live['error']}"
    elif live["status"] in (LiveStatus.NEEDS_REBUILD, LiveStatus.LIVE) and live["reason"]:
        yield f"live: {live['reason']}"
    if live["waiting_for"]:
        yield f"live: waiting for {'; '.join(live['waiting_for'])}"


def _ago(since: datetime | None) -> str:
    if since is None:
        return ""
    return f"{length_of((datetime.now(UTC) - since).total_seconds())} ago"


def _lag(row: Standing) -> str:
    if row["events_behind"] is None:
        return ""
    if not row["events_behind"]:
        return "none"
    seconds = row["lag_seconds"]
    age = "" if seconds is None else f", {length_of(seconds)}"
    return f"{row['events_behind']:,} events{age}"


def _versions(row: Standing) -> str:
    built, newest = row["generation_version"], row["version"]
    return str(newest) if built in (None, newest) else f"{built}, newest {newest}"


def _text(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _run_text(run: dict[str, Any] | None) -> str:
    if run is None:
        return "none"
    why = run["error"] or run["holding"] or "; ".join(run["waiting_for"])
    return f"{run['kind']} {run['status']}{f': {why}' if why else ''}"
