"""pause, resume, set-limits: commands that a run takes while it goes on."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.runs.follow import asked, make_manager
from refold.requests.limits import Limits


def pause(name: Name, *, json: Json = False) -> None:
    """Pause the run of a projection after the batches in hand."""

    async def ask() -> None:
        asked(name, await (await make_manager()).pause(name), "pause", json=json)

    finished(ask())


def resume(name: Name, *, json: Json = False) -> None:
    """Let a paused run go on."""

    async def ask() -> None:
        asked(name, await (await make_manager()).resume(name), "resume", json=json)

    finished(ask())


def set_limits(
    name: Name,
    *,
    batch_size: Annotated[int | None, typer.Option(help="Events a transaction.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="Partitions at a time.")] = None,
    events_per_second: Annotated[
        float | None, typer.Option(help="Over all partitions; 0 for no limit.")
    ] = None,
    json: Json = False,
) -> None:
    """Change the limits of a run while it goes on."""
    try:
        limits = Limits(
            batch_size=batch_size,
            max_concurrency=max_concurrency,
            events_per_second=events_per_second,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise typer.BadParameter(f"{where}{first['msg']}") from None

    async def ask() -> None:
        changed = await (await make_manager()).set_limits(name, limits)
        if json:
            print_json(changed)
            return
        rate = changed.events_per_second
        pace = "as fast as it can" if not rate else f"at most {rate:,.0f} events a second"
        console.print(
            f"{name}: {changed.batch_size:,} events a batch, {changed.max_concurrency} partitions "
            f"at a time, {pace}"
        )

    finished(ask())
