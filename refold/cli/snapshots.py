"""snapshots: makes, lists, restores and drops frozen copies of a read model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.runs.follow import follow_or_tell, make_manager, require_known
from refold.cli.runs.requests import Detach, RequestedBy
from refold.messages.snapshots import SnapshotInfo
from refold.requests.runs import SnapshotRequest

app = typer.Typer(help="Frozen copies of a read model.", no_args_is_help=True)


@app.command("list")
def list_(name: Name, *, json: Json = False) -> None:
    """List a projection's snapshots, the newest first."""

    async def look() -> list[SnapshotInfo]:
        require_known(name)
        return await (await make_manager()).get_snapshots(name)

    found = finished(look())
    if json:
        print_json(found)
    else:
        _show(found)


@app.command()
def create(
    name: Name,
    *,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Copy a read model at its checkpoint."""

    async def go() -> None:
        manager = await make_manager()
        request = SnapshotRequest(projection=name, requested_by=requested_by)
        run = await manager.start_snapshot(name, request)
        await follow_or_tell(manager, name, run, detach=detach, json=json)

    finished(go())


@app.command()
def restore(
    name: Name,
    *,
    generation: Annotated[
        int | None, typer.Option(min=1, help="Which snapshot; the newest if left out.")
    ] = None,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Put a copy of a snapshot live, with all events since; the snapshot stays."""

    async def go() -> None:
        require_known(name)
        manager = await make_manager()
        run = await manager.start_restore(name, generation, requested_by=requested_by)
        await follow_or_tell(manager, name, run, detach=detach, json=json)

    finished(go())


@app.command()
def drop(
    name: Name,
    *,
    generation: Annotated[int, typer.Option(min=1, help="Which snapshot.", show_default=False)],
    json: Json = False,
) -> None:
    """Drop a snapshot for good."""

    async def go() -> None:
        require_known(name)
        await (await make_manager()).drop_snapshot(name, generation)

    finished(go())
    if json:
        print_json({"projection": name, "generation": generation, "dropped": True})
    else:
        console.print(f"{name}: snapshot, generation {generation}, is dropped")


def _show(found: list[SnapshotInfo]) -> None:
    table = Table("generation", "version", "position", "rows", "created", box=None)
    for snapshot in found:
        table.add_row(
            str(snapshot.generation),
            str(snapshot.version),
            f"{snapshot.position:,}",
            f"{snapshot.rows:,}",
            f"{snapshot.created_at:%Y-%m-%d %H:%M:%S}",
        )
    console.print(table)
