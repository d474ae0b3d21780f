"""checkpoint: shows up to which position a read model is, and sets it back."""

from __future__ import annotations

from typing import Annotated

import typer

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.runs.follow import follow_or_tell, make_manager
from refold.cli.runs.requests import Detach, RequestedBy
from refold.runtime.settings import load_settings

app = typer.Typer(help="See how far a read model is, or set it back.", no_args_is_help=True)


@app.command()
def show(name: Name, *, json: Json = False) -> None:
    """Show up to which position readers see all events.

    And where the checkpoint is kept.
    """

    async def look() -> tuple[int | None, str | None]:
        load_settings().registry().get(name)
        manager = await make_manager()
        place = await manager.get_checkpoint_place(name)
        return await manager.get_current_checkpoint(name), place

    position, place = finished(look())
    if json:
        print_json({"projection": name, "position": position, "kept_in": place})
    elif position is None:
        console.print(f"{name}: no checkpoint: it has not been built yet")
    else:
        where = "" if place is None else f"; kept in {place}"
        console.print(f"{name}: all events up to position {position:,}, none after{where}")


@app.command()
def reset(
    name: Name,
    *,
    position: Annotated[
        int,
        typer.Option(min=0, help="The last position that readers see then.", show_default=False),
    ],
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Set a read model back to how it was at a position.

    It follows the log on from there.
    """

    async def go() -> None:
        manager = await make_manager()
        run = await manager.start_reset(name, position, requested_by=requested_by)
        await follow_or_tell(manager, name, run, detach=detach, json=json)

    finished(go())
