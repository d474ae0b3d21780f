"""projections, status: shows which projections are registered, and how each stands."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from json import dumps
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.cli.mirrors.shown import as_rows, show_mirrors
from refold.cli.output import Json, Tenant, console, errors, finished, print_json
from refold.cli.runs.follow import approval_hint, make_manager, tell_if_nobody_works
from refold.errors import TemporalUnreachable
from refold.manager.mirroring.health import MirrorHealth, judged
from refold.messages.run.status import RunStatus
from refold.projection.declaration import Projection
from refold.projection.defaults import Origin
from refold.runtime.database import make_engine
from refold.runtime.settings import load_settings
from refold.source.head import SettledHead
from refold.source.log import count_events
from refold.source.tenants import at_tenants_position, of_tenant
from refold.store import dead_letters, generations, leases, left_behind, runs, schema
from refold.store.migrate import require_migrated
from refold.store.mirrors import cursors


def projections(
    *,
    settings: Annotated[
        bool, typer.Option("--settings", help="All settings in force, and where each is from.")
    ] = False,
    json: Json = False,
) -> None:
    """List the registered projections."""
    try:
        found = finished(_registered())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    listed = [_declaration(projection) for projection in found]
    if json:
        print_json(listed)
        return
    table = Table("projection", "version", "table", "key", "event types", box=None)
    table.columns[0].no_wrap = True
    for item in listed:
        table.add_row(
            item["projection"],
            str(item["version"]),
            item["table"],
            item["key"],
            ", ".join(item["event_types"]),
        )
    console.print(table)
    for item in listed:
        for event_type, versions in item["upcast"].items():
            numbers = ", ".join(map(str, versions))
            line = f"{item['projection']}: {event_type} is upcast from versions {numbers}"
            console.print(line, soft_wrap=True, markup=False)
        for name, setting in item["settings"].items():
            if settings or setting["from"] != Origin.BUILT_IN:
                line = f"{item['projection']}: {name} {_setting(setting['value'])}"
                console.print(f"{line} ({setting['from']})", soft_wrap=True, markup=False)


def _setting(value: Any) -> str:
    return "none" if value is None else dumps(value)


async def _registered() -> list[Projection]:
    return list(load_settings().registry())


def _declaration(projection: Projection) -> dict[str, Any]:
    paths = projection.key_paths
    return {
        "projection": projection.name,
        "version": projection.version,
        "table": projection.table.fullname,
        "key": "a function" if paths is None else ", ".join(path.path for path in paths),
        "event_types": projection.event_types,
        "upcast": projection.reading.upcast,
        "settings": {
            name: {"value": value, "from": origin}
            for name, value, origin in projection.policies.in_force()
        },
    }


def status(
    name: Annotated[str | None, typer.Argument(help="One projection; all if left out.")] = None,
    *,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show how far projections and mirrors are, and the latest runs."""
    rows, mirrors = finished(_standing(name, tenant))
    if json:
        print_json([*rows, *as_rows(mirrors)])
        return
    table = Table(
        "projection", "version", "generation", "checkpoint", "behind", "latest run", box=None
    )
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(
            row["projection"],
            str(row["version"]),
            _text(row["generation"], f" (v{row['generation_version']})"),
            _text(row["position"]),
            _text(row["events_behind"], " events"),
            _run_text(row["run"]),
        )
    console.print(table)
    for row in rows:
        for failing in row["failing"]:
            console.print(f"{row['projection']}: {failing}", soft_wrap=True)
        if row["run"] is not None and row["run"]["status"] == RunStatus.AWAITING_APPROVAL:
            console.print(approval_hint(row["projection"]), soft_wrap=True)
    show_mirrors(mirrors)
    for line in dict.fromkeys(_left_text(left) for row in rows for left in row["left_behind"]):
        console.print(line)


def _left_text(left: dict[str, Any]) -> str:
    whose = f"{left['projection']}: " if left["projection"] else ""
    return f"{whose}{left['item']}, since {left['since']:%Y-%m-%d %H:%M:%S}: {left['reason']}"


def _text(value: Any, unit: str = "") -> str:
    if value is None:
        return "none"
    return f"{value:,}{unit}" if isinstance(value, int) else f"{value}{unit}"


def _run_text(run: dict[str, Any] | None) -> str:
    if run is None:
        return "none"
    why = run["error"] or run["holding"] or "; ".join(run["waiting_for"])
    return f"{run['kind']} {run['status']}{f': {why}' if why else ''}"


def _run_of(run: runs.RunRecord) -> dict[str, Any]:
    going = run.ended_at is None
    paused = going and bool(run.controls and run.controls["paused"])
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "workflow_id": run.workflow_id,
        "status": "paused" if paused else run.status,
        "phase": None,
        "waiting_for": [],
        "holding": run.holding if going and not paused else None,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error": run.error,
    }


async def _standing(
    name: str | None, tenant: str | None
) -> tuple[list[dict[str, Any]], list[MirrorHealth]]:
    return await _status(name, tenant), [] if name is not None else await _mirrors()


async def _mirrors() -> list[MirrorHealth]:
    """How mirrors are, as far as the database knows where Temporal does not answer."""
    with suppress(TemporalUnreachable):
        return await (await make_manager()).get_mirrors()
    engine = make_engine(load_settings(), activities=0)
    try:
        async with engine.connect() as connection:
            rows = await cursors.rows(connection)
    finally:
        await engine.dispose()
    return [judged(row, None, answers=False) for row in rows]


async def _status(name: str | None, tenant: str | None) -> list[dict[str, Any]]:
    settings = load_settings()
    among = None if tenant is None else of_tenant(tenant, settings.tenant_path)
    registry = settings.registry()
    wanted = list(registry) if name is None else [registry.get(name)]
    engine = make_engine(settings, activities=0)
    try:
        await require_migrated(engine)
        looking = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with looking.connect() as connection:
            head = SettledHead(records=False)
            await head.wait(connection, seconds=1)
            rows = [await _status_of(connection, projection, head, among) for projection in wanted]
    finally:
        await engine.dispose()
    await _ask_workflows(rows)
    return rows


async def _ask_workflows(rows: list[dict[str, Any]]) -> None:
    """Adds to rows what their workflows answer: the database does not know what they wait for."""
    for row in rows:
        row["failing"] = []
    try:
        manager = await make_manager()
    except TemporalUnreachable as error:
        known = "as the database last knew them; steps that fail are not shown"
        errors.print(f"runs are shown {known}: {error}", soft_wrap=True)
        return
    going = [row for row in rows if row["run"] is not None and row["held_by"]]
    answers = await asyncio.gather(*(manager.get_progress(row["held_by"]) for row in going))
    for row, progress in zip(going, answers, strict=True):
        if progress is None:
            row["run"]["waiting_for"] = ["no worker answers for it"]
        elif row["run"]["ended_at"] is None:
            row["run"]["status"] = progress.status.value
            row["run"]["phase"] = progress.phase.value
            row["run"]["waiting_for"] = progress.waiting_for
    await tell_if_nobody_works(manager)
    asked = [manager.get_failing_steps(row["projection"], row["held_by"]) for row in rows]
    for row, failing in zip(rows, await asyncio.gather(*asked), strict=True):
        row["failing"] = failing


async def _status_of(
    connection: AsyncConnection,
    projection: Projection,
    head: SettledHead,
    among: ColumnElement[bool] | None,
) -> dict[str, Any]:
    active = await generations.active(connection, projection.name)
    run = await runs.latest(connection, projection.name)
    lease = await leases.holder(connection, projection.name)
    position = active.position if active is not None else None
    behind = None
    if position is not None:
        behind = await count_events(
            connection,
            types=projection.event_types,
            after=position,
            since=projection.start_from,
            among=among,
        )
    of_letters = None
    if among is not None:
        of_letters = at_tenants_position(schema.dead_letters.c.position, among)
    return {
        "projection": projection.name,
        "version": projection.version,
        "generation": active.generation if active else None,
        "generation_version": active.version if active else None,
        "position": position,
        "head": head.position,
        "events_behind": behind,
        "held_by": lease.workflow_id if lease else None,
        "run": None if run is None else _run_of(run),
        "left_behind": [
            asdict(left) for left in await left_behind.of_projection(connection, projection.name)
        ],
        "dead_letters": 0
        if active is None
        else await dead_letters.count(connection, projection.name, active.generation, of_letters),
    }
