"""projections: which projections are registered, in all their versions."""

from __future__ import annotations

from json import dumps
from typing import Annotated, Any

import typer
from rich.table import Table

from refold.cli.output import Json, console, finished, print_json
from refold.projection.declaration import Projection
from refold.projection.defaults import Origin
from refold.projection.registry import Registry
from refold.runtime.settings import load_settings


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
    listed = [_declaration(found, projection) for projection in found]
    if json:
        print_json(listed)
        return
    table = Table("projection", "versions", "table", "key", "event types", box=None)
    table.columns[0].no_wrap = True
    for item in listed:
        table.add_row(
            item["projection"],
            ", ".join(map(str, item["versions"])),
            item["table"],
            item["key"],
            "all" if item["event_types"] is None else ", ".join(item["event_types"]),
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


async def _registered() -> Registry:
    return load_settings().registry()


def _declaration(registry: Registry, projection: Projection) -> dict[str, Any]:
    paths = projection.key_paths
    return {
        "projection": projection.name,
        "version": projection.version,
        "versions": registry.versions(projection.name),
        "table": projection.table.fullname,
        "key": "a function" if paths is None else ", ".join(path.path for path in paths),
        "event_types": projection.event_types,
        "upcast": projection.reading.upcast,
        "settings": {
            name: {"value": value, "from": origin}
            for name, value, origin in projection.policies.in_force()
        },
    }
