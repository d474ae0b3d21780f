"""dead-letters: lists, retries and skips poison events that were set aside."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from refold.cli.output import Json, Name, Tenant, console, finished, print_json
from refold.cli.runs.follow import follow_or_tell, make_manager, require_known
from refold.cli.runs.requests import Detach, RequestedBy
from refold.projection.dead_letters import DeadLetter

app = typer.Typer(help="Poison events that were set aside.", no_args_is_help=True)

_ERROR_WIDTH = 100
"""How many characters of an error the table shows."""


@app.command("list")
def list_(
    name: Name,
    *,
    tenant: Tenant = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show the handlers' tracebacks.")] = False,
    json: Json = False,
) -> None:
    """List a projection's dead letters, the oldest first."""

    async def look() -> list[DeadLetter]:
        require_known(name)
        return await (await make_manager()).get_dead_letters(name, tenant=tenant)

    found = finished(look())
    if json:
        print_json(found)
    elif not found:
        console.print(f"{name}: no dead letters")
    else:
        _show(found, trace=trace)


@app.command()
def retry(
    name: Name,
    *,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Refold the keys that are held.

    Events that still cannot be taken stay set aside.
    """
    _start(name, [], requested_by=requested_by, detach=detach, json=json)


@app.command()
def skip(
    name: Name,
    positions: Annotated[
        list[int],
        typer.Argument(
            metavar="POSITION...", min=0, help="Positions of dead letters.", show_default=False
        ),
    ],
    *,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Pass over the events of dead letters for good.

    The keys that are held are refolded.
    """
    _start(name, positions, requested_by=requested_by, detach=detach, json=json)


def _start(
    name: str, positions: list[int], *, requested_by: str | None, detach: bool, json: bool
) -> None:
    async def go() -> None:
        require_known(name)
        manager = await make_manager()
        run = await manager.start_retry(name, skip=positions, requested_by=requested_by)
        await follow_or_tell(manager, name, run, detach=detach, json=json)

    finished(go())


def _show(found: list[DeadLetter], *, trace: bool) -> None:
    table = Table("id", "position", "type", "stream", "key", "error", "since", box=None)
    for letter in found:
        error = letter.error
        table.add_row(
            str(letter.id),
            str(letter.position),
            letter.type,
            letter.stream_id,
            "none" if letter.key is None else ", ".join(str(part) for part in letter.key),
            error if len(error) <= _ERROR_WIDTH else f"{error[: _ERROR_WIDTH - 1]}…",
            f"{letter.recorded_at:%Y-%m-%d %H:%M:%S}",
        )
    console.print(table)
    for letter in found if trace else []:
        console.print(f"\n{letter.id}: event {letter.position}", markup=False, soft_wrap=True)
        console.print(letter.trace or letter.error, markup=False, soft_wrap=True)
