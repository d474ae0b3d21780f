"""The swap: a finished table takes the place of the live one, in one short transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import SwapRefused
from refold.projection.declaration import Projection
from refold.runtime.database import raw
from refold.runtime.judgement import told
from refold.runtime.missing_rights import with_right_named
from refold.store import generations
from refold.store.generations import ACTIVE, DISCARDED, RETAINED, Generation, own_schema
from refold.store.schema import SCHEMA
from refold.store.swap.attached import Attachments, fingerprint_statement, look
from refold.store.swap.locks import locks_of
from refold.store.tables import read_models
from refold.store.tables.read_models import quoted
from refold.store.tables.refused_row import refused_row


@dataclass(frozen=True)
class Swap:
    """One swap, as SQL.

    Attributes:
        oids: The relations that are locked: the target, views over the live table, that table.
        tables: The tables among them, by name.
        locks: Statements that lock them. The target comes first: while the swap waits there, no
            reader should stand still. The others follow in the order in which readers lock them.
        temporary: Temporary views over the live table: they end with their sessions.
        statements: What is done under the locks.
        attachments: What is attached to the live table.
    """

    oids: list[int]
    tables: list[str]
    locks: list[str]
    temporary: list[str]
    statements: list[str]
    attachments: Attachments

    @property
    def sql(self) -> list[str]:
        """All its statements, for people to read."""
        return [*self.locks, *[_IN_WORDS if s.startswith("DO ") else s for s in self.statements]]


def require_none_refused(refused: Sequence[str], table: str) -> None:
    """Refuses a swap that would lose something, before any work is done.

    Raises:
        SwapRefused: Something attached to the live table cannot move; the message names all of it.
    """
    if refused:
        raise SwapRefused(
            f"table {table} cannot be swapped: {'; '.join(refused)}; or backfill in "
            "place, which leaves the table where it is"
        )


async def plan_swap(
    connection: AsyncConnection,
    projection: Projection,
    target: Generation,
    old: Generation | None,
    *,
    dry: bool = False,
) -> Swap:
    """Plans the statements that put the target's table in the live table's place.

    Args:
        connection: In a transaction.
        projection: Whose tables these are, in the version that built the target.
        target: The generation to make active.
        old: The generation that stands live, an adopted one included; None when no table does.
        dry: Whether the target is not there yet: its part is left out of what is carried.
    """
    if old is not None and old.status == ACTIVE:
        live = old.schema_name
    else:
        live = await read_models.live_schema(connection, projection)
    table = projection.table.name
    attachments = await look(
        connection,
        projection,
        live_schema=live,
        target_schema=None if dry else target.schema_name,
        same_version=old is not None and old.version == target.version,
        built_with=old.built_with if old is not None else None,
        target_built_with=target.built_with,
    )
    moved = quoted(target.schema_name, table)
    oids, tables, locks, temporary = await locks_of(connection, quoted(live, table), moved)
    statements = []
    if old is not None and not attachments.is_there:
        # Somebody has dropped the live table, so there is nothing to keep.
        statements.append(_placed(old, DISCARDED, old.schema_name))
    elif old is not None:
        name, retained = quoted(live, table), own_schema(projection.name, old.generation)
        statements += [_unless_changed(name, attachments.fingerprint), *attachments.detach]
        statements += [
            f"CREATE SCHEMA IF NOT EXISTS {quoted(retained)}",
            f"ALTER TABLE {name} SET SCHEMA {quoted(retained)}",
            _placed(old, RETAINED, retained),
        ]
    statements += [
        f"ALTER TABLE {moved} SET SCHEMA {quoted(live)}",
        _placed(target, ACTIVE, live),
        f"DROP SCHEMA {quoted(target.schema_name)} RESTRICT",
        *attachments.attach,
    ]
    return Swap(oids, tables, locks, temporary, statements, attachments)


async def prepare(
    connection: AsyncConnection,
    projection: Projection,
    target: Generation,
    old: Generation | None,
    *,
    show: Callable[[str], None] = lambda statement: None,
) -> Swap:
    """Makes the target like the live table, as far as that can be done before the swap.

    Args:
        connection: In a transaction.
        projection: See `plan_swap`.
        target: See `plan_swap`.
        old: See `plan_swap`.
        show: Is told each statement before it is executed.

    Returns:
        The swap, with nothing left to prepare, unless something attached to the live table cannot
        move: then nothing is prepared.

    Raises:
        SwapRefused: PostgreSQL refuses to give the target what is attached to the live table.
    """
    table = projection.table.fullname
    swap = await plan_swap(connection, projection, target, old)
    # Some statements make others necessary: a role that loses a right to a table loses it to the
    # table's columns.
    for _ in range(_PASSES):
        if swap.attachments.refused or not swap.attachments.prepare:
            break
        for statement in swap.attachments.prepare:
            show(statement)
            try:
                await (await raw(connection)).execute(statement)
            except asyncpg.PostgresError as error:
                broken = refused_row(error)
                if broken is not None:
                    raise SwapRefused(
                        f"table {table} cannot be swapped: the new rows break what somebody has "
                        f"added to the live table by hand ({statement}), and no projection "
                        f"declares: {broken.said}: drop it, or mend the handlers"
                    ) from None
                if not isinstance(error, asyncpg.SyntaxOrAccessError):
                    raise
                named = await with_right_named(connection.engine, error)
                raise SwapRefused(
                    f"table {table} cannot be swapped: PostgreSQL refuses to give the new table "
                    f"what is attached to the live one ({statement}): {told(named)}: remove it, or "
                    "backfill in place"
                ) from error
        swap = await plan_swap(connection, projection, target, old)
    return swap


_PASSES = 4


async def obstacles(
    connection: AsyncConnection, projection: Projection, target: int, *, seen_as: str | None
) -> tuple[str, list[str]] | None:
    """What is attached to the live table now and would stop a swap.

    Args:
        connection: In a transaction.
        projection: In the version that built the target.
        target: The generation that is to go live.
        seen_as: The mark of the live table when it was looked at last.

    Returns:
        The mark of the live table, and what is in the way, each with what to do about it; None
        when nothing has changed since it was seen, or when there is no such table.
    """
    known = await generations.of_projection(connection, projection.name)
    made = next((found for found in known if found.generation == target), None)
    active = next((found for found in known if found.status == ACTIVE), None)
    if made is None or active is None or made is active:
        return None
    name = quoted(active.schema_name, active.table_name)
    there = text("SELECT to_regclass(:name) IS NOT NULL")
    if not await connection.scalar(there, {"name": name}):
        return None
    statement = text(fingerprint_statement(name).replace(":", "\\:"))
    if seen_as is not None and await connection.scalar(statement) == seen_as:
        return None
    attached = (await plan_swap(connection, projection, made, active)).attachments
    return attached.fingerprint, list(attached.refused)


async def lock(connection: AsyncConnection, swap: Swap) -> None:
    """Locks readers out; raises the driver's error when ``lock_timeout`` ends first."""
    if swap.locks:
        await (await raw(connection)).execute(";\n".join(swap.locks))


async def carry_out(connection: AsyncConnection, swap: Swap) -> None:
    """Does the swap in one round trip; readers stand still meanwhile."""
    await (await raw(connection)).execute(";\n".join(swap.statements))


async def adopt(connection: AsyncConnection, projection: Projection) -> Generation | None:
    """Records a table that stood there before Refold, so that it is retained, not lost."""
    live = await read_models.live_schema(connection, projection)
    table = projection.table.name
    if not await read_models.exists(connection, live, table):
        return None
    return await generations.create(
        connection,
        projection.name,
        version=generations.UNMANAGED,
        status=RETAINED,
        schema_name=live,
        table_name=table,
    )


CHANGED = "55R01"
"""The SQLSTATE of a swap that finds the live table changed since it was looked at."""


_IN_WORDS = "-- unless what is attached to the live table has changed meanwhile"


def _unless_changed(name: str, fingerprint: str) -> str:
    return (
        f"DO $refold$ BEGIN IF ({fingerprint_statement(name)}) IS DISTINCT FROM '{fingerprint}' "
        "THEN RAISE 'what is attached to the live table has changed meanwhile' "
        f"USING ERRCODE = '{CHANGED}'; END IF; END $refold$"
    )


def _placed(generation: Generation, status: str, schema_name: str) -> str:
    # A new fence stops its follower, which would write to a table that is elsewhere now.
    return (
        f"UPDATE {SCHEMA}.generations SET status = '{status}', schema_name = "
        f"'{schema_name.replace(chr(39), chr(39) * 2)}', fence = fence + 1, swapped_at = now() "
        f"WHERE projection = '{generation.projection}' AND generation = {generation.generation}"
    )
