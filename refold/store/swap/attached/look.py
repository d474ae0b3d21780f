"""Looks at a live table: what moves with a swap, and the SQL that moves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from refold.projection.declaration import Projection
from refold.store.generations import Built
from refold.store.swap.attached.definitions import definitions, recordable, recorded
from refold.store.swap.attached.difference import Side, by_hand, in_words, retyped, statements
from refold.store.swap.attached.fingerprint import fingerprint_statement
from refold.store.swap.attached.moves import MOVES, PUBLISHED
from refold.store.swap.attached.preparations import DEFAULT_PRIVILEGES, PREPARATIONS
from refold.store.swap.attached.refusals import refused
from refold.store.tables.read_models import quoted


@dataclass(frozen=True)
class Attachments:
    """All that is attached to a live table, and how it moves to the table that takes its place.

    Attributes:
        carried: What moves, in words.
        refused: What stands in the way, each with what to do about it.
        prepare: What the target is given, and loses, before the swap. It may take long, and may
            make further statements necessary.
        detach: What is taken from the outgoing table, under the swap's lock.
        attach: What is given to the target under the live table's name, under the same lock.
        fingerprint: The mark that `fingerprint_statement` found before all this was looked at.
        notes: What people have to do themselves.
    """

    carried: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    detach: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether there is a live table: it would have a mark."""
        return bool(self.fingerprint)


async def look(
    connection: AsyncConnection,
    projection: Projection,
    *,
    live_schema: str,
    target_schema: str | None,
    same_version: bool,
    built_with: Built | None,
    target_built_with: Built | None,
) -> Attachments:
    """Looks at all that is attached to the live table.

    Without a live table, it looks at the privileges that the schema gives by default.

    Args:
        connection: In a transaction.
        projection: Whose table it is, in the version that built the target.
        live_schema: Where the live table is.
        target_schema: Where the target is; None when there is none yet.
        same_version: Whether both are of one version: then their columns are alike.
        built_with: What the live table was built with; all else was added by hand: indexes and
            constraints move, columns cannot. None when that is not known: then nothing was added.
        target_built_with: The same of the target.
    """
    table = projection.table.name
    live = quoted(live_schema, table)
    target = None if target_schema is None else quoted(target_schema, table)
    if await connection.scalar(text("SELECT to_regclass(:live)"), {"live": live}) is None:
        given = await _rows(
            connection, DEFAULT_PRIVILEGES, {"schema": quoted(live_schema), "target": target}
        )
        return Attachments(
            carried=tuple(row.what for row in given),
            prepare=tuple(row.prepare for row in given if target is not None),
        )
    mark = await connection.scalar(text(fingerprint_statement(live).replace(":", "\\:")))
    async with _unqualified(connection):
        found = await definitions(connection, live)
        side = Side(found, recorded(built_with, found))
        changed = by_hand(side, same_version=same_version)
        carried, prepare = in_words(changed), []
        other = None
        if target_schema is not None:
            assert target is not None
            there = await definitions(connection, target)
            other = Side(there, recorded(target_built_with, there))
            prepare += statements(
                (target_schema, table), other, side, changed, same_version=same_version
            )
        built = built_with or await _built_as(connection, live)
        parameters = {"live": live, "target": target, "declared": built["names"]}
        settings = []
        for row in await _rows(connection, _PREPARATIONS, parameters):
            carried += [row.what] if row.what else []
            settings += [row.prepare] if row.prepare and target is not None else []
        # An index or constraint first: its settings are found once it is there.
        prepare = prepare or settings
        detach: list[str] = []
        attach: list[str] = []
        for row in await _rows(connection, _MOVES, parameters):
            carried += [row.what] if row.what else []
            detach += [row.detach] if row.detach else []
            attach += [row.attach] if row.attach else []
        published = await _rows(connection, PUBLISHED, parameters)
        carried += [row.what for row in published]
        in_the_way = await refused(connection, live, target, built)
        if other is not None or same_version:
            in_the_way += retyped(side, other.found if other is not None else None)
    return Attachments(
        tuple(carried),
        tuple(in_the_way),
        tuple(prepare),
        tuple(detach),
        tuple(attach),
        str(mark),
        tuple(row.note for row in published),
    )


def _together(statements: Sequence[TextClause], columns: Sequence[str]) -> TextClause:
    """One statement with the rows of all, one after the other: each costs a round trip."""
    texts = ", ".join(f"CAST({name} AS text) AS {name}" for name in columns)
    parts = [
        f"SELECT {number} AS part, row_number() OVER () AS line, {texts} FROM ({one.text}) AS q"
        for number, one in enumerate(statements)
    ]
    together = " UNION ALL ".join(parts)
    return text(f"SELECT {', '.join(columns)} FROM ({together}) AS q ORDER BY part, line")


_PREPARATIONS = _together(PREPARATIONS, ("what", "prepare"))
_MOVES = _together(MOVES, ("what", "detach", "attach"))


@asynccontextmanager
async def _unqualified(connection: AsyncConnection) -> AsyncIterator[None]:
    """An empty ``search_path`` for a while: definitions then name the schema of everything."""
    path = await connection.scalar(_WITHOUT_PATH)
    yield
    await connection.execute(_WITH_PATH, {"path": path})


async def built_as(connection: AsyncConnection, schema: str, table: str) -> Built:
    """What a table consists of right after it was built."""
    name = quoted(schema, table)
    async with _unqualified(connection):
        built = await _built_as(connection, name)
        built["definitions"] = recordable(await definitions(connection, name))
    return built


async def _built_as(connection: AsyncConnection, name: str) -> Built:
    return {
        "names": list((await connection.execute(_NAMES, {"name": name})).scalars()),
        "columns": list((await connection.execute(_COLUMNS, {"name": name})).scalars()),
    }


_NAMES = text(
    """
    SELECT i.relname AS name FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = to_regclass(:name)
    UNION
    SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:name)
    ORDER BY 1
    """
)

_COLUMNS = text(
    """
    SELECT attname FROM pg_attribute
    WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
)


# What was set is read before it is set anew: an expression is evaluated after those on its left.
_WITHOUT_PATH = text("SELECT current_setting('search_path'), set_config('search_path', '', true)")
_WITH_PATH = text("SELECT set_config('search_path', :path, true)")

_TYPES: dict[str, Any] = {"live": Text(), "target": Text()}


async def _rows(
    connection: AsyncConnection, statement: TextClause, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    bound, names = _bound(statement)
    return (await connection.execute(bound, {n: parameters[n] for n in names})).all()


@cache
def _bound(statement: TextClause) -> tuple[TextClause, list[str]]:
    """A statement whose parameters have types, and their names: compiling it takes its time."""
    names = list(statement.compile().params)
    typed = [bindparam(name, type_=_TYPES[name]) for name in names if name in _TYPES]
    return statement.bindparams(*typed), names
