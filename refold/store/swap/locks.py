"""The locks of a swap: what it locks, in which order, and how long it waits for a lock."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_MILLISECONDS = 100
"""The lock timeout of a swap. While it waits, all readers wait behind it, so it gives up soon."""

SETTLED_IN_MILLISECONDS = 250
"""A session that has held its lock this long is likely to go on: readers do not stop for it."""

VACUUM_MILLISECONDS = 1500
"""An autovacuum worker yields to a waiting lock after deadlock_timeout, 1 s by default."""


async def limit_waiting(connection: AsyncConnection, milliseconds: int) -> None:
    """Sets how long the transaction at hand waits for each lock."""
    await connection.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))


_VIEWS = text(
    """
    SELECT v.oid, v.relpersistence = 't' AS is_temporary, v.oid::regclass::text AS name,
           format('ALTER VIEW %I.%I OWNER TO %I', n.nspname, v.relname,
                         pg_get_userbyid(v.relowner)) AS lock
    FROM pg_depend d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
    JOIN pg_namespace n ON n.oid = v.relnamespace
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:name)
    GROUP BY v.oid, n.nspname, v.relname, v.relowner, v.relpersistence ORDER BY v.oid
    """
)


async def locks_of(
    connection: AsyncConnection, live: str, target: str
) -> tuple[list[int], list[str], list[str], list[str]]:
    """What a swap locks.

    Returns:
        The relations, the tables among them by name, the statements that lock them, in their
        order, and the temporary views that are in the way.
    """
    found = await connection.execute(
        text(
            "SELECT CAST(to_regclass(name) AS oid) AS oid, name "
            "FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS n (name, number) "
            "WHERE to_regclass(name) IS NOT NULL ORDER BY number"
        ),
        {"names": [target, live]},
    )
    oids = {row.name: row.oid for row in found}
    views = (await connection.execute(_VIEWS, {"name": live})).all()
    lasting = [view for view in views if not view.is_temporary]
    temporary = [f"temporary view {view.name}" for view in views if view.is_temporary]
    locks = {name: f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE" for name in oids}
    # A reader of a view locks the view first, then the table: the other way round is a deadlock.
    # LOCK TABLE of a view would lock the table, too, with the rights of the view's owner, who may
    # only have the right to read it. To give a view to the owner that it has only locks the view.
    in_order = [locks.get(target), *[view.lock for view in lasting], locks.get(live)]
    return (
        [*oids.values(), *[view.oid for view in lasting]],
        list(oids),
        [lock for lock in in_order if lock is not None],
        temporary,
    )
