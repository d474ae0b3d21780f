"""Swapping a finished shadow in for the live table, in one short transaction."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import SwapRefused
from refold.projection import Projection
from refold.store import generations, read_models
from refold.store.generations import ACTIVE, RETAINED, Generation, own_schema
from refold.store.read_models import quoted

# What stays behind on the old table, or is lost, when another table takes its name.
_ATTACHED = text(
    """
    WITH live AS (SELECT to_regclass(:name) AS oid)
    SELECT DISTINCT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END
           || v.oid::regclass AS what
    FROM live, pg_depend d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = live.oid AND v.oid <> live.oid
    UNION ALL
    SELECT 'foreign key ' || quote_ident(conname) || ' of ' || conrelid::regclass
    FROM pg_constraint, live WHERE contype = 'f' AND confrelid = live.oid AND conrelid <> live.oid
    UNION ALL
    SELECT 'trigger ' || quote_ident(tgname) FROM pg_trigger, live
    WHERE tgrelid = live.oid AND NOT tgisinternal
    UNION ALL
    SELECT 'policy ' || quote_ident(polname) FROM pg_policy, live WHERE polrelid = live.oid
    UNION ALL
    SELECT 'column privileges ' || attacl::text FROM pg_attribute, live
    WHERE attrelid = live.oid AND attacl IS NOT NULL AND NOT attisdropped
    UNION ALL
    SELECT 'function ' || objid::regprocedure FROM pg_depend, live
    WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_class'::regclass
      AND refobjid = live.oid
    UNION ALL
    SELECT 'publication ' || quote_ident(pubname) FROM pg_publication_rel
    JOIN pg_publication p ON p.oid = prpubid, live WHERE prrelid = live.oid
    ORDER BY 1
    """
)


async def refuse_attached(connection: AsyncConnection, projection: Projection) -> None:
    """Checks, before any work is done, that a swap would not lose what hangs on the live table.

    Raises:
        SwapRefused: Something does; the message names each thing.
    """
    schema = await read_models.live_schema(connection, projection)
    name = quoted(schema, projection.table.name)
    attached = list((await connection.execute(_ATTACHED, {"name": name})).scalars())
    if attached:
        raise SwapRefused(
            f"table {name} cannot be swapped: expected nothing attached to it, found "
            f"{'; '.join(attached)}: remove these first, or backfill in place"
        )


async def swap(
    connection: AsyncConnection, projection: Projection, target: Generation
) -> Generation | None:
    """Puts the target's table in the live table's place; the old one is retained.

    Args:
        connection: In a transaction that holds both generations' records locked, with a
            ``lock_timeout``: a waiting ACCESS EXCLUSIVE lock stalls every reader behind it.
        projection: Whose tables these are.
        target: The generation to make active, at or beyond the old one's checkpoint.

    Returns:
        The generation that was active before, if there was one.
    """
    live = await read_models.live_schema(connection, projection)
    table = projection.table.name
    old = await generations.active(connection, projection.name)
    if old is None and await read_models.exists(connection, live, table):
        old = await _adopt(connection, projection, live)
    if old is not None:
        await _carry_privileges(connection, quoted(live, table), quoted(target.schema_name, table))
        retained = own_schema(projection.name, old.generation)
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted(retained)}"))
        await read_models.move(connection, table, old=live, new=retained)
        await generations.set_place(connection, old, status=RETAINED, schema_name=retained)
    await read_models.move(connection, table, old=target.schema_name, new=live)
    await generations.set_place(connection, target, status=ACTIVE, schema_name=live)
    await connection.execute(text(f"DROP SCHEMA {quoted(target.schema_name)} RESTRICT"))
    return old


_PRIVILEGES = text(
    """
    SELECT format('GRANT %s ON TABLE %s TO %s%s', privilege_type, CAST(:new AS text),
                  CASE WHEN grantee = 0 THEN 'PUBLIC'
                       ELSE quote_ident(pg_get_userbyid(grantee)) END,
                  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE pg_class.oid = to_regclass(:old) AND grantee <> relowner
    """
)


async def _carry_privileges(connection: AsyncConnection, old: str, new: str) -> None:
    """Grants on the new table what is granted on the old one."""
    grants = (await connection.execute(_PRIVILEGES, {"old": old, "new": new})).scalars().all()
    for grant in grants:
        await connection.exec_driver_sql(grant)


async def _adopt(connection: AsyncConnection, projection: Projection, schema: str) -> Generation:
    """Records a table that stood there before Refold, so that it is retained, not lost."""
    return await generations.create(
        connection,
        projection.name,
        version=generations.UNMANAGED,
        status=RETAINED,
        schema_name=schema,
        table_name=projection.table.name,
    )
