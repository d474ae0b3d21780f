"""New rows and the checkpoint of their partition in one statement: a batch in one round trip.

As a transaction of a checkpoint and `COPY`, a batch takes five, and a process that folds stands
still when all its partitions wait for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Table, exists, insert, select

from refold.projection.declaration import Row
from refold.runtime.database import compiled_names
from refold.store.partitions import ADVANCE, revision_of
from refold.store.tables.many.at_once import AtOnce, listed_rows, names_of


class RowsWithCheckpoint:
    """Adds rows to one table, and moves a partition's checkpoint.

    Args:
        table: The table, for statements.
        at_once: How its rows travel.
    """

    def __init__(self, table: Table, at_once: AtOnce) -> None:
        self._at_once = at_once
        self._columns = names_of(at_once.columns)
        advanced = ADVANCE.cte("advanced")
        # Where another attempt has taken over, nothing is added.
        rows = listed_rows(at_once.columns).where(exists(select(advanced.c.revision)))
        added = insert(table).from_select(list(at_once.columns), rows).cte("added")
        self._sql, self._order = compiled_names(select(advanced).add_cte(added))

    async def add(
        self, driver: asyncpg.Connection[Any], rows: Sequence[Row], values: Mapping[str, Any]
    ) -> int | None:
        """Adds rows, none of which the table has yet; in a transaction of its own.

        Args:
            driver: In no transaction.
            rows: The rows.
            values: The parameters of `ADVANCE`.

        Returns:
            The revision of what the run has been told; None when the rows take more than one
            statement, and nothing is done.

        Raises:
            Fenced: Another attempt has taken the partition over; nothing is done.
            PostgresError: PostgreSQL refuses a row; nothing is done.
        """
        arrays = self._at_once.arrays(rows)
        if arrays is None:
            return None
        given = {**values, **dict(zip(self._columns, arrays, strict=True))}
        found = await driver.fetchrow(self._sql, *[given[name] for name in self._order])
        return revision_of(found, values)
