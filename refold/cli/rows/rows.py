"""rows: shows what readers see."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.rows.values import cell
from refold.errors import InvalidRequest
from refold.projection.declaration import Row
from refold.projection.registry import Registry
from refold.projection.typed_key import typed_key
from refold.runtime.database import make_engine
from refold.runtime.settings import load_settings
from refold.store import generations
from refold.store.migrate import require_migrated
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore


def rows(
    name: Name,
    key: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY...]", help="One row: a value for each key column."),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many rows to show.")] = 20,
    json: Json = False,
) -> None:
    """Show rows of a read model as readers see them.

    They are in the order of their keys.
    """
    found = finished(_rows(name, key or [], limit))
    if json:
        print_json(found[:limit])
        return
    if not found:
        console.print(f"{name}: no row")
        return
    table = Table(*found[0], box=None)
    for row in found[:limit]:
        table.add_row(*(cell(value) for value in row.values()))
    console.print(table)
    if len(found) > limit:
        console.print("and more: see --limit")


async def _rows(name: str, texts: list[str], limit: int) -> list[Row]:
    settings = load_settings()
    registry = settings.registry()
    engine = make_engine(settings, activities=0)
    try:
        return await read_rows(engine, registry, name, texts, limit)
    finally:
        await engine.dispose()


async def read_rows(
    engine: AsyncEngine, registry: Registry, name: str, texts: list[str], limit: int
) -> list[Row]:
    """Rows of a read model as readers see them, in the order of their keys.

    Args:
        engine: The database.
        registry: The projections.
        name: The projection.
        texts: A text for each key column, for one row; none for the first rows.
        limit: How many rows are wanted; one more is read, if there is one.

    Raises:
        InvalidRequest: Nothing was built yet, or by a version that is not registered; or these
            texts are no key.
        NotMigrated: The schema is of another version.
        UnknownProjection: There is no projection of that name.
    """
    newest = registry.get(name)
    await require_migrated(engine)
    async with engine.connect() as connection:
        active = await generations.active(connection, name)
        if active is None:
            raise InvalidRequest(
                f"{name}: nothing has been built yet: `refold rebuild {name}` builds it"
            )
        projection = registry.version(name, active.version)
        if projection is None:
            raise InvalidRequest(
                f"{name}: expected version {active.version}, which built what readers see, "
                f"among the registered ones, got {registry.versions(name)}: its columns are "
                "not known here"
            )
        store = RowStore(physical(projection, active.schema_name))
        if texts:
            return list((await store.read(connection, [typed_key(newest, texts)])).values())
        ordered = select(store.table).order_by(*store.table.primary_key.columns)
        found = await connection.execute(ordered.limit(limit + 1))
        listed: list[dict[str, Any]] = [store.row_of(record) for record in found]
        return listed
