"""What nobody owns, and what workers could not clear away."""

from __future__ import annotations

from refold.cli.doctor.finding import Finding, mind, ok, wrong
from refold.cli.doctor.look import Look
from refold.cli.doctor.sizes import size_of
from refold.store import generations, left_behind, orphans
from refold.store.generations import ACTIVE
from refold.store.orphans import LostTable
from refold.store.tables.read_models import quoted


async def tables(look: Look) -> list[Finding]:
    """Whether each generation has its table, and each generation's schema its generation."""
    async with look.connected() as connection:
        lost, schemas = await orphans.look(connection)
        abandoned = await generations.left_building(connection)
    found = [_lost(one) for one in lost]
    found += [
        wrong(
            f"schema {quoted(one.name)} is of no generation that is kept, and takes "
            f"{size_of(one.bytes)}; if nobody else needs it, drop it",
            f"DROP SCHEMA {quoted(one.name)} CASCADE",
        )
        for one in schemas
    ]
    found += [
        mind(
            f"generation {one.generation} of {one.projection} was being built by a run that is "
            "over",
            "workers drop it within a minute; if none does, see what they left behind",
        )
        for one in abandoned
    ]
    return found or [ok("each generation has its table, and no schema is left over")]


def _lost(one: LostTable) -> Finding:
    table = quoted(one.schema_name, one.table_name)
    said = f"generation {one.generation} of {one.projection} is {one.status}, and {table} is gone"
    if one.status == ACTIVE:
        return wrong(said, f"refold rebuild {one.projection}")
    return mind(said, "nobody can roll back to it, nor restore it, any more")


async def left(look: Look) -> list[Finding]:
    """What workers tried to clear away, in vain."""
    async with look.connected() as connection:
        rows = await left_behind.of_all(connection)
    return [
        wrong(
            f"{f'{row.projection}: ' if row.projection else ''}{row.item}, since "
            f"{row.since:%Y-%m-%d %H:%M:%S}: {row.reason}"
        )
        for row in rows
    ] or [ok("workers have cleared everything away")]
