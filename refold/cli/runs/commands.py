"""backfill, rebuild, rollback, watch, cancel, approve, reject, diff: commands for runs."""

from __future__ import annotations

from typing import Annotated

import typer

from refold.cli.options import Fields, with_options
from refold.cli.output import FAILED, Json, Name, console, finished, print_json
from refold.cli.runs.diff import show_diff
from refold.cli.runs.follow import asked, follow, follow_or_tell, make_manager
from refold.cli.runs.plan import show_plan
from refold.cli.runs.requests import (
    Detach,
    PlanOnly,
    RequestedBy,
    backfill_request,
    holds_back,
    how,
    what_to_repair,
    where_to,
)
from refold.errors import InvalidRequest
from refold.requests.runs import BackfillRequest, RollbackRequest
from refold.requests.validation import accept_request


@with_options(what_to_repair, where_to, how, holds_back)
def backfill(
    name: Name,
    fields: Fields,
    *,
    plan: PlanOnly = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Repair a read model in place.

    What the projection declares, else every key.
    """
    request = backfill_request(name, fields)
    finished(_build("Backfill", name, request, plan=plan, detach=detach, json=json))


@with_options(what_to_repair, how, holds_back)
def rebuild(
    name: Name,
    fields: Fields,
    *,
    plan: PlanOnly = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Build a read model anew, aside, and swap it in."""
    request = backfill_request(name, fields)
    finished(_build("Rebuild", name, request, plan=plan, detach=detach, json=json))


def rollback(
    name: Name,
    *,
    to_generation: Annotated[
        int | None,
        typer.Option(min=1, help="Which generation; if left out, the one replaced last."),
    ] = None,
    to_version: Annotated[
        int | None,
        typer.Option(min=0, help="Instead: the generation replaced last that this version built."),
    ] = None,
    allow_stale: Annotated[
        bool,
        typer.Option("--allow-stale", help="Go live even if the events since cannot be applied."),
    ] = False,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Put a replaced generation live again, with all events since."""
    try:
        fields = {
            "projection": name,
            "to_generation": to_generation,
            "to_version": to_version,
            "allow_stale": allow_stale,
            "requested_by": requested_by,
        }
        request = accept_request([fields], RollbackRequest)
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None

    async def roll_back() -> None:
        manager = await make_manager()
        run = await manager.start_rollback(name, request)
        await follow_or_tell(manager, name, run, detach=detach, json=json)

    finished(roll_back())


def watch(name: Name, *, json: Json = False) -> None:
    """Follow the run of a projection until it ends."""

    async def go() -> None:
        manager = await make_manager()
        await follow(manager, await manager.current_run(name), json=json)

    finished(go())


def cancel(
    name: Name,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    json: Json = False,
) -> None:
    """Stop the run of a projection; the new table is removed."""

    async def ask() -> None:
        run = await (await make_manager()).cancel_backfill(name, reason)
        asked(name, run, "cancel", json=json)

    finished(ask())


def approve(name: Name, *, json: Json = False) -> None:
    """Let the table that awaits approval go live."""

    async def ask() -> None:
        asked(name, await (await make_manager()).approve(name), "approve", json=json)

    finished(ask())


def reject(
    name: Name,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    json: Json = False,
) -> None:
    """Discard the table that awaits approval."""

    async def ask() -> None:
        asked(name, await (await make_manager()).reject(name, reason), "reject", json=json)

    finished(ask())


def diff(name: Name, *, json: Json = False) -> None:
    """Show what the latest rebuild changes, or has changed."""

    async def look() -> None:
        found = await (await make_manager()).get_diff(name)
        if json:
            print_json(found)
        elif found is None:
            console.print(f"{name}: nothing to compare yet: its run is not verified")
        else:
            show_diff(found)

    finished(look())


async def _build(
    kind: str, name: str, request: BackfillRequest, *, plan: bool, detach: bool, json: bool
) -> None:
    manager = await make_manager()
    if plan:
        preview = await manager.plan(kind, name, request)
        if json:
            print_json(preview)
        else:
            show_plan(preview)
        if preview.refused:
            raise typer.Exit(FAILED)
        return
    start = manager.start_rebuild if kind == "Rebuild" else manager.start_backfill
    await follow_or_tell(manager, name, await start(name, request), detach=detach, json=json)
