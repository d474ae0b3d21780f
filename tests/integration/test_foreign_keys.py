"""Foreign keys that a read model declares refer to the live table, after each swap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from temporalio.client import Client

from refold import Event, Projection, Row
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import failed
from tests.support.many import run_all
from tests.support.runs import assert_oracle, leftovers, run, start, working, write
from tests.support.soaking import mostly_soak, soak

Make = Callable[[MetaData, Table], list[Any]]
"""The columns and constraints of the table that refers."""


def customers(metadata: MetaData, schema: str | None = None) -> Projection:
    made = Projection(
        "-".join(filter(None, ("customers", schema))),
        table=Table(
            "customers",
            metadata,
            Column("customer_id", Text, primary_key=True),
            Column("region", Text, nullable=False),
            UniqueConstraint("region", "customer_id", name="customers_region"),
            schema=schema,
        ),
        key="stream_id",
    )

    @made.on("Registered")
    def registered(row: Row | None, event: Event) -> Row:
        return {"region": event.data["region"]}

    return made


def orders(
    metadata: MetaData, make: Make, schema: str | None = None, *, name: str = "orders"
) -> Projection:
    referred = metadata.tables["customers" if schema is None else f"{schema}.customers"]
    made = Projection(
        name,
        table=Table(
            name,
            metadata,
            Column("order_id", Text, primary_key=True),
            Column("region", Text),
            *make(metadata, referred),
            schema=schema,
        ),
        key="stream_id",
    )

    @made.on("Ordered")
    def ordered(row: Row | None, event: Event) -> Row:
        return {"customer_id": event.data["customer"], "region": event.data["region"]}

    return made


def column(*arguments: Any, **options: Any) -> Column[Any]:
    return Column("customer_id", Text, ForeignKey(*arguments, **options))


SPELLINGS: dict[str, tuple[str | None, Make]] = {
    "string": (None, lambda m, t: [column("customers.customer_id")]),
    "string with a schema": ("shop", lambda m, t: [column("shop.customers.customer_id")]),
    "column object": (None, lambda m, t: [column(t.c.customer_id)]),
    "column of a table in a schema": ("shop", lambda m, t: [column(t.c.customer_id)]),
    "constraint": (
        None,
        lambda m, t: [
            Column("customer_id", Text),
            ForeignKeyConstraint(["customer_id"], ["customers.customer_id"], name="of_customer"),
        ],
    ),
    "constraint with a column object": (
        None,
        lambda m, t: [
            Column("customer_id", Text),
            ForeignKeyConstraint(["customer_id"], [t.c.customer_id]),
        ],
    ),
    "composite": (
        None,
        lambda m, t: [
            Column("customer_id", Text),
            ForeignKeyConstraint(
                ["region", "customer_id"], ["customers.region", "customers.customer_id"]
            ),
        ],
    ),
    "deferrable": (
        None,
        lambda m, t: [
            column("customers.customer_id", deferrable=True, initially="DEFERRED", use_alter=True)
        ],
    ),
    "with actions": (
        None,
        lambda m, t: [
            column("customers.customer_id", ondelete="SET NULL", onupdate="CASCADE", match="FULL")
        ],
    ),
}

_SOME_SPELLINGS = [*SPELLINGS][1::3]

EVENTS = [
    ("c1", "Registered", {"region": "north"}),
    ("c2", "Registered", {"region": "south"}),
    ("o1", "Ordered", {"customer": "c1", "region": "north"}),
    ("o2", "Ordered", {"customer": "c2", "region": "south"}),
]


@pytest.mark.parametrize("spellings", [_SOME_SPELLINGS, *soak([*SPELLINGS])])
async def test_each_spelling_refers_to_the_live_table(
    client: Client, database: Database, spellings: list[str]
) -> None:
    chosen = [SPELLINGS[spelling] for spelling in spellings]
    referred: dict[str | None, Projection] = {}
    referring: dict[str, Projection] = {}
    for number, (schema, make) in enumerate(chosen):
        metadata = MetaData()
        referred[schema] = customers(metadata, schema)
        name = f"orders{number}"
        referring[name] = orders(metadata, make, schema, name=name)
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA shop"))
    await write(database.engine, EVENTS)

    registry = registry_of(*referred.values(), *referring.values())
    async with working(client, database, registry):
        await run_all(client, database, "Backfill", [one.name for one in referred.values()])
        await run_all(client, database, "Rebuild", referring)
        declared = await foreign_keys(database)
        assert [(one, other) for one, other, _ in declared] == [
            (f"{schema or 'public'}.orders{number}", f"{schema or 'public'}.customers")
            for schema, number in sorted(
                (schema or "public", number) for number, (schema, _) in enumerate(chosen)
            )
        ]
        # Followed, they are in force, whatever takes the table's place.
        later = [
            ("c3", "Registered", {"region": "east"}),
            ("o3", "Ordered", {"customer": "c3", "region": "east"}),
        ]
        await write(database.engine, later)
        names = [*[one.name for one in referred.values()], *referring]
        for each in names[: len(referred)], names[len(referred) :]:
            await run_all(client, database, "Backfill", each, criteria="incremental_update")
        for kind in ("Rebuild", "Rollback", "Snapshot"):
            await run_all(client, database, kind, ["orders1", f"orders{len(chosen) - 1}"])
            assert await foreign_keys(database) == declared
        for made in referring.values():
            assert len(await assert_oracle(database.engine, made)) == 3
        # What they refer to cannot be replaced under them: that is said before any work.
        handle = await start(client, database, "Rebuild", {"projection": "customers"})
        refused = await failed(handle)
        assert refused.type == "SwapRefused"
        assert "drop it, and add it again after the rebuild: ALTER TABLE" in refused.message
    assert await leftovers(database.engine) == []


async def foreign_keys(database: Database) -> list[tuple[str, str, str]]:
    """All foreign keys: the table, what it refers to, the definition."""
    statement = """
        SELECT format('%I.%I', s.nspname, c.relname), format('%I.%I', t.nspname, r.relname),
               pg_get_constraintdef(f.oid)
        FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid
        JOIN pg_namespace s ON s.oid = c.relnamespace JOIN pg_class r ON r.oid = f.confrelid
        JOIN pg_namespace t ON t.oid = r.relnamespace
        WHERE f.contype = 'f' AND s.nspname <> 'refold' ORDER BY 1, 2, 3
    """
    async with database.engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


def tree(*, deferred: bool) -> Projection:
    """Parts that refer to the part that they are in."""
    timing: dict[str, Any] = {"deferrable": True, "initially": "DEFERRED"} if deferred else {}
    made = Projection(
        "parts",
        table=Table(
            "parts",
            MetaData(),
            Column("part_id", Text, primary_key=True),
            Column("within", Text, ForeignKey("parts.part_id", **timing)),
        ),
        key="stream_id",
    )

    @made.on("Placed")
    def placed(row: Row | None, event: Event) -> Row:
        return {"within": event.data["within"]}

    @made.on("Scrapped")
    def scrapped(row: Row | None, event: Event) -> None:
        return None

    return made


@pytest.mark.parametrize("deferred", [True, *soak(False)])
async def test_a_table_may_refer_to_itself(
    client: Client, database: Database, *, deferred: bool
) -> None:
    projection = tree(deferred=deferred)
    # The part that others are in comes first in the log, and last in the order of keys.
    placed = [("z", None), ("b", "z"), ("a", "b")]
    await write(database.engine, [(p, "Placed", {"within": q}) for p, q in placed])
    async with working(client, database, registry_of(projection)):
        for kind in ("Rebuild", "Rebuild", "Rollback", "Backfill"):
            await run(client, database, kind, "parts")
            await assert_oracle(database.engine, projection)
            refers = [(one, other) for one, other, _ in await foreign_keys(database)]
            assert refers == [("public.parts", "public.parts")]
        # In one batch: the outer one last by its key, and gone before what was in it has moved.
        later = [
            ("y", "Placed", {"within": "z"}),
            ("a", "Placed", {"within": "y"}),
            ("b", "Scrapped", {}),
            ("x", "Placed", {"within": "y"}),
        ]
        await write(database.engine, later)
        await run(client, database, "Backfill", "parts", criteria="incremental_update")
        rows = await assert_oracle(database.engine, projection)
        assert {key: row["within"] for key, row in rows.items()} == {
            "a": "y",
            "x": "y",
            "y": "z",
            "z": None,
        }


IMPOSSIBLE: dict[str, tuple[Make, str]] = {
    "no such table": (lambda m, t: [column("nowhere.id")], 'relation "nowhere" does not exist'),
    "no such column": (lambda m, t: [column("customers.nothing")], '"nothing"'),
    "nothing unique": (
        lambda m, t: [column("customers.region")],
        'no unique constraint matching given keys for referenced table "customers"',
    ),
    "other type": (
        lambda m, t: [Column("customer_id", Integer, ForeignKey(t.c.customer_id))],
        "cannot be implemented",
    ),
}


@pytest.mark.parametrize("what", mostly_soak(*IMPOSSIBLE, suite=1))
async def test_what_cannot_be_made_is_refused_before_any_work(
    client: Client, database: Database, what: str
) -> None:
    make, words = IMPOSSIBLE[what]
    metadata = MetaData()
    registry = registry_of(customers(metadata), orders(metadata, make))
    await write(database.engine, EVENTS)
    async with working(client, database, registry):
        await run(client, database, "Backfill", "customers")
        for request in ({"projection": "orders"}, {"projection": "orders", "dry_run": True}):
            handle = await start(client, database, "Rebuild", request)
            refused = await failed(handle)
            assert refused.type == "InvalidProjection"
            assert words in refused.message
            assert "PostgreSQL refuses" in refused.message
            assert len(refused.message) < 400
    assert await leftovers(database.engine) == []
