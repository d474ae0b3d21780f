"""The demo: a sample shop, one rebuild while sales go on, the rows."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from refold.cli.output import console
from refold.cli.runs.follow import follow_with_bar, summary
from refold.errors import ConfigurationError
from refold.manager.projections import ProjectionManager
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.payloads.converter import make_data_converter
from refold.runtime.settings import Settings, load_settings
from refold.source.files.sample_shop import seed_shop
from refold.stack.stack import Stack

_SAMPLES = ("order-summary", "customer-summary", "product-sales")


def sample_registry() -> Registry:
    """The sample shop's read models. An installed Refold does not have them.

    Raises:
        ConfigurationError: They are not in the modules that REFOLD_PROJECTIONS names.
    """
    modules = load_settings().projections
    why = f"{', '.join(modules)} has others"
    try:
        registry = load_settings().registry()
    except ConfigurationError as error:
        registry, why = Registry(), str(error)
    if not all(name in registry for name in _SAMPLES):
        raise ConfigurationError(
            f"the demo needs the sample read models {', '.join(_SAMPLES)} ({why}): run `make demo` "
            "in Refold's source tree, where projections/ has them; `refold dev` is for your own"
        )
    return registry


async def run_demo(stack: Stack, registry: Registry, orders: int) -> None:
    """Seeds the shop, rebuilds its read models and prints the largest rows."""
    engine = make_engine(Settings(database_url=stack.database_url))
    try:
        console.print(f"PostgreSQL   {stack.database_url}", soft_wrap=True)
        console.print(f"Temporal UI  {stack.ui_url}", soft_wrap=True)
        began = time.monotonic()
        events = await seed_shop(engine, orders=orders)
        console.print(
            f"\na sample shop: {events:,} events of {orders:,} orders, "
            f"written in {time.monotonic() - began:.1f} s\n"
        )
        data_converter = make_data_converter(load_settings().payload_key_file)
        client = await Client.connect(stack.temporal_address, data_converter=data_converter)
        async with ProjectionManager(client, stack.database_url) as manager:
            for name in _SAMPLES:
                run = await manager.start_rebuild(name)
                await follow_with_bar(manager, run)
                console.print(summary(await manager.result(run)), soft_wrap=True)
        for name in _SAMPLES:
            await _print_rows(engine, registry.get(name))
        console.print(
            f"\nTemporal UI: {stack.ui_url}  (gone with this demo; `make dev` keeps one up)",
            soft_wrap=True,
        )
    finally:
        await engine.dispose()


async def _print_rows(engine: AsyncEngine, projection: Projection) -> None:
    table = projection.table
    largest = max(
        (c for c in table.columns if str(c.type).startswith("NUMERIC")),
        key=lambda column: column.name in ("total", "lifetime_value", "revenue"),
    )
    async with engine.connect() as connection:
        count = await connection.scalar(select(func.count()).select_from(table))
        rows = await connection.execute(select(table).order_by(largest.desc()).limit(5))
        shown = Table(
            *[column.name for column in table.columns],
            title=f"{table.name}: {count:,} rows, the first by {largest.name}",
            title_justify="left",
        )
        for row in rows:
            shown.add_row(*[_cell(value) for value in row])
    console.print()
    console.print(shown)


def _cell(value: Any) -> str:
    if hasattr(value, "isoformat"):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int) else str(value)
