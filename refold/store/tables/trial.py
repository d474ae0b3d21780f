"""Tries whether PostgreSQL takes a projection's table, before any work is done."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import InvalidProjection
from refold.projection.declaration import Projection
from refold.runtime.database import server_error
from refold.runtime.driver import carry_out
from refold.runtime.judgement import Judgement, judge
from refold.store.tables import read_models

_LOCK_MILLISECONDS = 2000
_WAITED = "55P03"  # somebody holds what it refers to: that is no reason against it
_WORDS = {
    "PrimaryKeyConstraint": "the primary key",
    "ForeignKeyConstraint": "the foreign key",
    "UniqueConstraint": "the unique constraint",
    "CheckConstraint": "the check",
    "Index": "the index",
}


async def require_possible(connection: AsyncConnection, projection: Projection) -> None:
    """Makes the table, empty, with all that it declares, and takes it back.

    Args:
        connection: In a transaction.
        projection: In the version whose table is going to be made.

    Raises:
        InvalidProjection: PostgreSQL refuses it; the message names the table, and the part of it
            that is refused.
    """
    try:
        async with connection.begin_nested() as trial:
            schema = await _begun(connection, projection)
            await read_models.add_indexes(connection, projection, schema)
            await trial.rollback()
    except DBAPIError as error:
        refused = server_error(error)
        if refused is None:
            raise
        if refused.sqlstate != _WAITED:
            await _require_each(connection, projection)


async def _begun(connection: AsyncConnection, projection: Projection) -> str:
    """Makes the bare table in a schema that nobody else has."""
    schema = f"refold_trial_{projection.name}"
    # A foreign key locks what it refers to: nobody waits long for a trial.
    await connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}"))
    await read_models.create_shadow(connection, projection, schema)
    return schema


async def _require_each(connection: AsyncConnection, projection: Projection) -> None:
    """The same once more, one part after the other: which of them is refused?"""
    trial = await connection.begin_nested()
    part = "the table"
    try:
        schema = await _begun(connection, projection)
        for statement in await read_models.declared(connection, projection, schema):
            part = _named(statement)
            await carry_out(connection, statement)
    except DBAPIError as error:
        refused = server_error(error)
        # What it names is not there, has another type or is not allowed, or a trigger refuses.
        if refused is not None and judge(refused) is Judgement.FINAL:
            raise InvalidProjection(_sentence(projection, part, refused)) from None
        if refused is None or refused.sqlstate != _WAITED:
            raise
    finally:
        if trial.is_active:
            await trial.rollback()


def _sentence(projection: Projection, part: str, refused: Exception) -> str:
    said = str(refused).splitlines()[0].rstrip(".")[:500]
    return (
        f"{projection.name}: PostgreSQL refuses {part} of {projection.table.fullname!r}: {said}: "
        "make what it refers to, or mend the declaration"
    )


def _named(statement: object) -> str:
    element = getattr(statement, "element", None)
    what = _WORDS.get(type(element).__name__, "the constraint")
    name = getattr(element, "name", None)
    columns = ", ".join(column.name for column in getattr(element, "columns", ()))
    return f"{what} {str(name)!r}" if name else f"{what} ({columns})"
