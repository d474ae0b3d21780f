"""Looking at a live table: what moves with a swap, and the SQL that moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from refold.projection import Projection
from refold.store.attached.fingerprint import fingerprint_statement
from refold.store.attached.moving import MOVING, PUBLISHED
from refold.store.attached.preparing import PREPARING, SAME_VERSION
from refold.store.attached.refusals import refused
from refold.store.read_models import quoted


@dataclass(frozen=True)
class Attachments:
    """All that hangs on a live table, and how it moves to the table that takes its place.

    Attributes:
        carried: What moves, in words.
        refused: What stands in the way, each with what to do about it.
        prepare: What the target is given before the swap; may take long.
        detach: What is taken from the outgoing table, under the swap's lock.
        attach: What is given to the target under the live table's name, under the same lock.
        fingerprint: The mark that `fingerprint_statement` found before all this was looked at.
    """

    carried: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    detach: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    fingerprint: str = ""


async def look(
    connection: AsyncConnection,
    projection: Projection,
    *,
    live_schema: str,
    target_schema: str | None,
    same_version: bool,
    by_hand_unless: Sequence[str] | None,
) -> Attachments:
    """Looks at all that hangs on the live table; without a live table, nothing does.

    Args:
        connection: In a transaction.
        projection: Whose table it is, in the version that built the target.
        live_schema: Where the live table is.
        target_schema: Where the target is; None when there is none yet.
        same_version: Whether both are of one version: then their columns are alike.
        by_hand_unless: The indexes and constraints that the live table was built with; all others
            were added by hand, and move. None when that is not known: then none moves.
    """
    table = projection.table.name
    live = quoted(live_schema, table)
    target = None if target_schema is None else quoted(target_schema, table)
    if await connection.scalar(text("SELECT to_regclass(:live)"), {"live": live}) is None:
        return Attachments()
    mark = await connection.scalar(text(fingerprint_statement(live).replace(":", "\\:")))
    # So that definitions name the schema of everything: the live table will not be on the path.
    path = await connection.scalar(text("SELECT current_setting('search_path')"))
    await _set_path(connection, "")
    declared = by_hand_unless
    if declared is None:
        declared = await _all_names(connection, live)
    parameters = {"live": live, "target": target, "declared": list(declared)}
    carried: list[str] = []
    prepare: list[str] = []
    for statement in (*PREPARING, *(SAME_VERSION if same_version else ())):
        for row in await _rows(connection, statement, parameters):
            carried += [row.what] if row.what else []
            prepare += [row.prepare] if row.prepare and target is not None else []
    detach: list[str] = []
    attach: list[str] = []
    for statement in MOVING:
        for row in await _rows(connection, statement, parameters):
            carried.append(row.what)
            detach += [row.detach] if row.detach else []
            attach += [row.attach]
    carried += [row[0] for row in await _rows(connection, PUBLISHED, parameters)]
    columns = [column.name for column in projection.table.columns]
    in_the_way = await refused(
        connection, live, target, declared=columns, same_version=same_version
    )
    await _set_path(connection, str(path))
    return Attachments(
        tuple(carried), tuple(in_the_way), tuple(prepare), tuple(detach), tuple(attach), str(mark)
    )


async def names_built(connection: AsyncConnection, schema: str, table: str) -> list[str]:
    """The indexes and constraints that a table has right after it was built."""
    return await _all_names(connection, quoted(schema, table))


_NAMES = text(
    """
    SELECT i.relname AS name FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = to_regclass(:name)
    UNION
    SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:name)
    ORDER BY 1
    """
)


async def _all_names(connection: AsyncConnection, name: str) -> list[str]:
    return list((await connection.execute(_NAMES, {"name": name})).scalars())


async def _set_path(connection: AsyncConnection, path: str) -> None:
    await connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})


async def _rows(
    connection: AsyncConnection, statement: TextClause, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    names = set(statement.compile().params)
    typed = [bindparam(name, type_=Text()) for name in names if name in ("live", "target")]
    bound = statement.bindparams(*typed)
    return (await connection.execute(bound, {n: parameters[n] for n in names})).all()
