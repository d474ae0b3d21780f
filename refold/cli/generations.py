"""generations: lists the copies of a read model, and what built each of them."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from refold.cli.output import Json, Name, console, finished, print_json
from refold.runtime.database import make_engine
from refold.runtime.settings import load_settings
from refold.store import generations as store
from refold.store.generations import DISCARDED, UNMANAGED, Generation
from refold.store.migrate import require_migrated


def generations(name: Name, *, json: Json = False) -> None:
    """List a projection's generations.

    What readers query, and what can be rolled back to.
    """
    found = finished(_generations(name))
    if json:
        print_json(found)
        return
    table = Table(
        *("generation", "status", "version", "position", "rows", "built", "swapped", "run"),
        box=None,
    )
    for made in found:
        table.add_row(
            str(made["generation"]),
            made["status"],
            "before Refold" if made["version"] == UNMANAGED else str(made["version"]),
            "none" if made["position"] is None else f"{made['position']:,}",
            "not counted" if made["rows"] is None else f"{made['rows']:,}",
            f"{made['created_at']:%Y-%m-%d %H:%M:%S}",
            "never" if made["swapped_at"] is None else f"{made['swapped_at']:%Y-%m-%d %H:%M:%S}",
            made["run_id"] or "none",
        )
    console.print(table)


async def _generations(name: str) -> list[dict[str, Any]]:
    settings = load_settings()
    settings.registry().get(name)
    engine = make_engine(settings, activities=0)
    try:
        await require_migrated(engine)
        async with engine.connect() as connection:
            known = await store.of_projection(connection, name)
    finally:
        await engine.dispose()
    return [plain(generation) for generation in known if generation.status != DISCARDED]


def plain(generation: Generation) -> dict[str, Any]:
    """What people are told of a generation."""
    names = (
        *("generation", "status", "version", "position", "rows", "created_at", "swapped_at"),
        *("run_id", "schema_name", "table_name"),
    )
    return {name: getattr(generation, name) for name in names}
