"""start, stop, restart, health: live projections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from refold.cli.mirrors.shown import as_rows, show_mirrors
from refold.cli.output import (
    FAILED,
    Json,
    Name,
    Tenant,
    console,
    finished,
    length_of,
    print_json,
)
from refold.cli.runs.follow import make_manager, tell_if_nobody_works
from refold.cli.status.other_events import tell_if_other_events
from refold.messages.mirrors import MirrorStatus
from refold.runtime.settings import load_settings

if TYPE_CHECKING:
    from refold.manager.health import ProjectionHealth
    from refold.manager.mirroring.health import MirrorHealth


def start(name: Name, *, json: Json = False) -> None:
    """Keep a read model up with the log, from now on."""
    _ask(name, "start", json=json)


def stop(name: Name, *, json: Json = False) -> None:
    """Stop following the log; the checkpoint stays."""
    _ask(name, "stop", json=json)


def restart(name: Name, *, json: Json = False) -> None:
    """Try again at once, from the checkpoint."""
    _ask(name, "restart", json=json)


def health(
    name: Annotated[str | None, typer.Argument(help="One projection; all if left out.")] = None,
    *,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show how live projections and mirrors are.

    The exit status is 1 unless all are healthy.
    """

    async def look() -> tuple[list[ProjectionHealth], list[MirrorHealth]]:
        registry = load_settings().registry()
        wanted = list(registry) if name is None else [registry.get(name)]
        manager = await make_manager()
        await tell_if_nobody_works(manager)
        await tell_if_other_events()
        found = [await manager.get_health(p.name, p.event_types, tenant=tenant) for p in wanted]
        return found, [] if name is not None else await manager.get_mirrors()

    found, mirrors = finished(look())
    # One that was ended on purpose is of no interest any more.
    mirrors = [one for one in mirrors if one.status is not MirrorStatus.CANCELLED]
    if json:
        print_json([*found, *as_rows(mirrors)])
    else:
        _show(found)
        show_mirrors(mirrors)
    if not all(one.is_healthy for one in found) or not all(one.is_healthy for one in mirrors):
        raise typer.Exit(FAILED)


def _ask(name: str, what: str, *, json: bool) -> None:
    async def ask() -> None:
        load_settings().registry().get(name)
        manager = await make_manager()
        await tell_if_nobody_works(manager)
        asked = {"start": manager.start, "stop": manager.stop, "restart": manager.restart}
        await asked[what](name)

    finished(ask())
    if json:
        print_json({"workflow_id": f"projection/{name}", "asked": what})
    else:
        console.print(f"asked projection/{name} to {what}; `refold health {name}` shows how it is")


def _show(found: list[ProjectionHealth]) -> None:
    table = Table(
        "projection", "status", "generation", "checkpoint", "head", "lag", "why", box=None
    )
    table.columns[0].no_wrap = True
    for projection in found:
        standing = projection.standing
        table.add_row(
            projection.projection,
            projection.status,
            "none" if standing.generation is None else str(standing.generation),
            "none" if standing.position is None else f"{standing.position:,}",
            f"{standing.head:,}",
            f"{standing.lag_events:,} events, {length_of(standing.lag_seconds)}",
            projection.reason or "; ".join(f"waits for {line}" for line in projection.waiting_for),
        )
    console.print(table)
