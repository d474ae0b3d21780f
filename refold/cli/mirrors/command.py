"""events mirror: starts and steers what copies events from elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from refold.cli.mirrors.shown import show_mirrors
from refold.cli.output import FAILED, Json, console, finished, print_json
from refold.cli.runs.follow import make_manager, tell_if_nobody_works
from refold.errors import ConfigurationError
from refold.manager.mirroring.health import MirrorHealth
from refold.runtime.settings import load_settings
from refold.source.mirrors.named import NamedMirrors


def mirror(
    name: Annotated[
        str | None,
        typer.Argument(help="What stands after the colon in REFOLD_MIRRORS, if it has several."),
    ] = None,
    *,
    rate: Annotated[float | None, typer.Option(min=0, help="Events a second; 0: no limit.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Events a transaction.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show how mirrors are.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Copy no further for now.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after a pause, or after a failure.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End it; its cursor stays.")] = False,
    json: Json = False,
) -> None:
    """Copy events from elsewhere, and go on as they come.

    They land in Refold's own table. A mirror that runs is given the limits; one that was stopped
    goes on where it was.
    """
    ways = {"status": status, "pause": pause, "resume": resume, "stop": stop}
    asked = [way for way, is_asked in ways.items() if is_asked]
    limited = rate is not None or batch_size is not None
    if len(asked) > 1 or (asked and limited):
        given = [*(f"--{way}" for way in asked), *(["a limit"] if limited else [])]
        raise typer.BadParameter(f"expected one thing to do, got {' and '.join(given)}")
    if status:
        _show(name, json=json)
    elif asked:
        said = finished(_tell(_named(name), asked[0]))
        _said(said, asked[0], json=json)
    else:
        said = finished(_start(_named(name), rate, batch_size))
        _said(said, "start", json=json)


def _named(name: str | None) -> str:
    async def find() -> str:
        known = NamedMirrors(load_settings().mirrors)
        if name is not None:
            known.require(name)
            return name
        if len(known.places) != 1:
            listed = ", ".join(known.places) or "none: set REFOLD_MIRRORS to module:name"
            raise ConfigurationError(f"mirror: expected the name of one of ({listed}), got none")
        return next(iter(known.places))

    return finished(find())


async def _start(name: str, rate: float | None, batch_size: int | None) -> str:
    manager = await make_manager()
    await tell_if_nobody_works(manager)
    fresh = await manager.start_mirror(name, batch_size=batch_size, events_per_second=rate)
    if fresh:
        return f"started mirror/{name}; `refold events mirror {name} --status` shows how it is"
    changed = rate is not None or batch_size is not None
    return f"mirror/{name} runs already" + ("; its limits are changed" if changed else "")


async def _tell(name: str, way: str) -> str:
    manager = await make_manager()
    await tell_if_nobody_works(manager)
    tell = {
        "pause": manager.pause_mirror,
        "resume": manager.resume_mirror,
        "stop": manager.cancel_mirror,
    }
    await tell[way](name)
    return f"asked mirror/{name} to {way}; `refold events mirror {name} --status` shows how it is"


def _said(sentence: str, way: str, *, json: bool) -> None:
    if json:
        print_json({"asked": way, "message": sentence})
    else:
        console.print(sentence, soft_wrap=True)


def _show(name: str | None, *, json: bool) -> None:
    async def look() -> list[MirrorHealth]:
        manager = await make_manager()
        await tell_if_nobody_works(manager)
        return [one for one in await manager.get_mirrors() if name in (None, one.mirror)]

    found = finished(look())
    if json:
        print_json(found)
    elif not found:
        console.print("no mirror has begun yet: `refold events mirror`")
    show_mirrors([] if json else found)
    if not all(one.is_healthy for one in found):
        raise typer.Exit(FAILED)
