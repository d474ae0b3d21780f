"""Tries a select before any work is done: whether PostgreSQL takes it, and its rows."""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.sql.culprit import inserting
from refold.errors import InvalidProjection
from refold.projection.declaration import Projection
from refold.projection.sql.declaration import SqlProjection
from refold.runtime.database import compiled, raw, server_error
from refold.runtime.judgement import Judgement, judge, refusal
from refold.source.sql.spans import Span, rows_of
from refold.store.tables import read_models

_CALLED = re.compile(r"\b([a-z_][a-z0-9_]*)\s*\(", re.IGNORECASE)
_VOLATILE = text(
    """
    SELECT proname FROM pg_proc WHERE proname = ANY(CAST(:names AS text[]))
    GROUP BY proname HAVING bool_and(provolatile = 'v') ORDER BY proname LIMIT 1
    """
)


async def require_select(connection: AsyncConnection, projection: Projection) -> None:
    """Has PostgreSQL plan the select of a projection that is said in SQL; it changes nothing.

    Args:
        connection: In a transaction.
        projection: Any; one with handlers has no select.

    Raises:
        InvalidProjection: PostgreSQL refuses the select or the types of its columns, or a function
            in it says another thing each time.
    """
    if not isinstance(projection, SqlProjection):
        return
    schema = f"refold_trial_{projection.name}"
    trial = await connection.begin_nested()
    try:
        await read_models.create_shadow(connection, projection, schema)
        target = read_models.physical(projection, schema)
        sql, arguments = compiled(inserting(target, rows_of(projection, Span(upto=0))))
        names = sorted({name.lower() for name in _CALLED.findall(sql)})
        volatile = await connection.scalar(_VOLATILE, {"names": names})
        if volatile is not None:
            raise InvalidProjection(
                f"{projection.name}: select: PostgreSQL says that {volatile!r} is volatile: the "
                "same events would make other rows each time; take one that is not"
            )
        driver = await raw(connection)
        try:
            await driver.execute(f"EXPLAIN {sql}", *arguments)
        except Exception as error:
            _raise_refused(projection, error)
    except DBAPIError as error:
        _raise_refused(projection, error)
    finally:
        if trial.is_active:
            await trial.rollback()


def _raise_refused(projection: Projection, error: Exception) -> None:
    refused = server_error(error)
    if refused is None or judge(refused) is not Judgement.FINAL:
        raise error
    raise InvalidProjection(
        f"{projection.name}: PostgreSQL refuses its select, or what it has for a column of table "
        f"{projection.table.name!r}: {refusal(refused)}: mend the select"
    ) from None
