"""What all else needs: the projections, the database with Refold's schema, Temporal."""

from __future__ import annotations

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from refold.cli.doctor.finding import Finding, ok, wrong
from refold.cli.doctor.look import Look, Need
from refold.runtime.database import DATABASE_ERRORS, make_engine, server_error
from refold.runtime.judgement import refusal, told
from refold.runtime.reachability import check_reachable
from refold.runtime.temporal.client import connect, require_namespace, target
from refold.source.port.current import use_source
from refold.store.checkpoints.stores import CheckpointStores
from refold.store.migrate import require_migrated
from refold.store.schema import SCHEMA
from refold.store.tables.read_models import quoted

# As many as checks are carried out side by side.
_CONNECTIONS = 3


async def projections(look: Look) -> list[Finding]:
    """Whether the modules that are named can be imported, with what they need of the settings."""
    if look.registry is None:
        look.registry = look.settings.registry()
    look.reached.add(Need.PROJECTIONS)
    use_source(look.settings)
    CheckpointStores(look.settings).require(look.registry)
    names = ", ".join(f"{one.name} {one.version}" for one in look.registry) or "none"
    return [ok(f"{names}, of {', '.join(look.settings.projections)}")]


async def database(look: Look) -> list[Finding]:
    """Whether PostgreSQL answers; a standby will do here."""
    address = look.settings.database_address()
    engine = look.made_engine = make_engine(look.settings, activities=0, pool_size=_CONNECTIONS)
    try:
        try:
            await check_reachable(engine)
        except OSError:  # also when it takes no writes, which is for the check of writes
            async with look.connected() as connection:
                await connection.execute(text("SELECT 1"))
    except DATABASE_ERRORS as error:
        said = f"PostgreSQL at {address.where} does not answer, or refuses: {told(error)}"
        return [
            wrong(said, "start it, or let REFOLD_DATABASE_URL lead to it; `refold dev` starts one")
        ]
    look.reached.add(Need.DATABASE)
    return [ok(f"PostgreSQL at {address.where} answers")]


async def schema(look: Look) -> list[Finding]:
    """Whether the schema ``refold`` is there, in this code's version."""
    assert look.made_engine is not None
    try:
        await require_migrated(look.made_engine)
    except DBAPIError as error:
        refused = server_error(error)
        if not isinstance(refused, asyncpg.InsufficientPrivilegeError):
            raise
        async with look.connected() as connection:
            role = quoted(str(await connection.scalar(text("SELECT current_user"))))
        return [
            wrong(
                f"role {role} may not read schema {SCHEMA}: {refusal(refused)}",
                f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE "
                f"ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}",
            )
        ]
    look.reached.add(Need.SCHEMA)
    return [ok("it is that of this version")]


async def temporal(look: Look) -> list[Finding]:
    """Whether Temporal answers."""
    look.made_client = await connect()
    look.reached.add(Need.TEMPORAL)
    return [ok(f"Temporal at {target()} answers")]


async def namespace(look: Look) -> list[Finding]:
    """Whether Temporal has the namespace."""
    await require_namespace(look.client)
    look.reached.add(Need.NAMESPACE)
    return [ok(f"{look.client.namespace} is there")]
