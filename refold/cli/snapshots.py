"""snapshots: makes, lists, restores and drops what a read model was at some positions."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.runs.follow import follow_or_tell, make_manager, require_known
from refold.cli.runs.requests import Detach, RequestedBy
from refold.messages.snapshots import SnapshotInfo
from refold.requests.runs import SnapshotRequest
from refold.runtime.settings import load_settings

app = typer.Typer(help="A read model as it was at some positions.", no_args_is_help=True)


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
        int | None, typer.Option(min=1, help="Which copy; the newest snapshot if left out.")
    ] = None,
    position: Annotated[
        int | None, typer.Option(min=0, help="Or: which snapshot, by its position.")
    ] = None,
    as_version: Annotated[
        int | None, typer.Option(min=1, help="The version that takes it, by its restore=.")
    ] = None,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Put the rows of a snapshot live, with all events since.

    The snapshot stays.
    """
    if generation is not None and position is not None:
        raise typer.BadParameter("expected one of --generation and --position, got both")

    async def go() -> None:
        require_known(name)
        manager = await make_manager()
        run = await manager.start_restore(
            name,
            generation,
            position=position,
            as_version=as_version,
            requested_by=requested_by,
        )
        await follow_or_tell(manager, name, run, detach=detach, json=json)

    finished(go())


@app.command()
def rows(
    name: Name,
    *,
    position: Annotated[int, typer.Option(min=0, help="Which snapshot.", show_default=False)],
) -> None:
    """Print the rows of a snapshot, one JSON object a line.

    They are in the order of their keys.
    """

    async def look() -> list[dict[str, Any]]:
        registry = load_settings().registry()
        known = registry.get(name)
        manager = await make_manager()
        made = next((s for s in await manager.get_snapshots(name) if s.position == position), None)
        version = None if made is None else registry.version(name, made.version)
        found = await manager.read_snapshot(version or known, position)
        return [found[key] for key in sorted(found, key=str)]

    for row in finished(look()):
        print(orjson.dumps(row, default=str).decode())


@app.command()
def drop(
    name: Name,
    *,
    generation: Annotated[
        int | None, typer.Option(min=1, help="Which copy.", show_default=False)
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(min=0, help="Or: which one that is kept as changes.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Drop a snapshot for good."""
    if (generation is None) == (position is None):
        raise typer.BadParameter("expected one of --generation and --position")

    async def go() -> None:
        require_known(name)
        await (await make_manager()).drop_snapshot(name, generation, position=position)

    finished(go())
    named = {"position": position} if generation is None else {"generation": generation}
    if json:
        print_json({"projection": name, **named, "dropped": True})
    else:
        ((what, number),) = named.items()
        console.print(f"{name}: snapshot, {what} {number}, is dropped")


def _show(found: list[SnapshotInfo]) -> None:
    table = Table(
        *("position", "kept as", "generation", "version", "rows", "made by", "created"), box=None
    )
    for snapshot in found:
        table.add_row(
            f"{snapshot.position:,}",
            snapshot.kept_as,
            str(snapshot.generation),
            str(snapshot.version),
            "" if snapshot.rows is None else f"{snapshot.rows:,}",
            _made_by(snapshot),
            f"{snapshot.created_at:%Y-%m-%d %H:%M:%S}",
        )
    console.print(table)


def _made_by(snapshot: SnapshotInfo) -> str:
    if snapshot.kept_as == "copy":
        return "a request"
    return snapshot.trigger or "number of events"
