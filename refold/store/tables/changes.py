"""Writes rows that PostgreSQL may refuse: makes the changes that it takes, and tells the others.

Constraints must hold after all changes: a unique value may pass from one key to another, and two
keys may swap theirs, in any order. Where nothing is refused, that costs two round trips more than
`write`. Only after a refusal are the rows written in halves, down to the ones at fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.tables.refused_row import RefusedRow, refused_row
from refold.store.tables.rows import RowStore

# Foreign keys by which a deletion would delete or change rows of other tables.
_CASCADES = text(
    "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd') "
    "AND confrelid = to_regclass(:name)"
)


@dataclass(frozen=True)
class Change:
    """What becomes of one key: its row, or None when it has none any more."""

    key: Key
    row: Row | None


class _Undone(Exception):
    """Ends a savepoint whose changes were only tried."""


class Changes:
    """Changes to one table, in the caller's transaction.

    Args:
        connection: In a transaction.
        rows: The table.
        bare: Whether it has no primary key yet, and none of the rows: they are only added.
    """

    def __init__(self, connection: AsyncConnection, rows: RowStore, *, bare: bool = False) -> None:
        self._connection = connection
        self._rows = rows
        self._bare = bare

    async def write(self, changes: Sequence[Change]) -> None:
        """Makes all changes; what PostgreSQL refuses ends the transaction.

        Raises:
            DBAPIError, PostgresError: It refuses a row, at once or, where that is deferred, with
                the commit.
        """
        rows = await self._without_gone(changes)
        if self._bare:
            await self._rows.insert(self._connection, rows)
        else:
            await self._rows.upsert_at_once(self._connection, rows)

    async def _without_gone(self, changes: Sequence[Change]) -> list[Row]:
        """Deletes the rows that go; returns those that come or change."""
        if not self._bare:
            gone = [change.key for change in changes if change.row is None]
            await self._rows.delete(self._connection, gone)
        return [change.row for change in changes if change.row is not None]

    async def _write_each(self, changes: Sequence[Change]) -> None:
        rows = await self._without_gone(changes)
        if self._bare:
            await self._rows.insert(self._connection, rows)
        else:
            await self._rows.upsert(self._connection, rows)

    async def put(self, changes: Sequence[Change]) -> dict[Key, RefusedRow]:
        """Makes all changes that PostgreSQL takes.

        Args:
            changes: At most one a key; where two claim what only one can have, the first gets it.

        Returns:
            The keys whose change it refuses, and why; their rows stand as before.
        """
        if not changes or await self._try(changes) is None:
            return {}
        refused: dict[Key, RefusedRow] = {}
        waiting = list(changes)
        while waiting:
            left = await self._halves(waiting)
            refused |= {change.key: why for change, why in left if not why.others}
            left = [(change, why) for change, why in left if why.others]
            before, waiting = len(waiting), [change for change, _ in left]
            if len(waiting) == before or not waiting:
                break
        else:
            left = []
        taken = [change for change, why in left if why.taken]
        refused |= {change.key: why for change, why in left if not why.taken}
        whys = {change.key: why for change, why in left}
        refused |= await self._exchange(taken, whys)
        return refused

    async def would_be_refused(self, change: Change) -> RefusedRow | None:
        """Why a change would be refused; None when it would be taken. Nothing is changed."""
        return await self._try([change], keep=False)

    async def _try(self, changes: Sequence[Change], *, keep: bool = True) -> RefusedRow | None:
        try:
            async with self._savepoint():
                await self._write_each(changes)
                if not keep:
                    await self._settle()
                    raise _Undone
        except _Undone:
            return None
        except (DBAPIError, asyncpg.PostgresError) as error:
            refused = refused_row(error)
            if refused is None:
                raise
            return refused
        return None

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        """A savepoint that checks what can be deferred when all is written, and not later."""
        driver = await raw(self._connection)
        await driver.execute("SAVEPOINT refold_changes; SET CONSTRAINTS ALL DEFERRED")
        try:
            yield
            await driver.execute("SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT refold_changes")
        except (Exception, _Undone):
            if not driver.is_closed():
                await driver.execute(
                    "ROLLBACK TO SAVEPOINT refold_changes; RELEASE SAVEPOINT refold_changes"
                )
            raise

    async def _settle(self) -> None:
        await (await raw(self._connection)).execute("SET CONSTRAINTS ALL IMMEDIATE")

    async def _halves(self, changes: Sequence[Change]) -> list[tuple[Change, RefusedRow]]:
        """Makes what can be made of changes that cannot be made all at once."""
        left: list[tuple[Change, RefusedRow]] = []
        size = max(1, len(changes) // 2)
        for start in range(0, len(changes), size):
            half = changes[start : start + size]
            why = await self._try(half)
            if why is not None:
                left += [(half[0], why)] if len(half) == 1 else await self._halves(half)
        return left

    async def _exchange(
        self, changes: Sequence[Change], whys: dict[Key, RefusedRow]
    ) -> dict[Key, RefusedRow]:
        """Makes changes that claim each other's values: deletes all rows, then writes each."""
        if not changes or self._bare or await self._cascades():
            return {change.key: whys[change.key] for change in changes}
        refused: dict[Key, RefusedRow] = {}
        group = list(changes)
        while group:
            losers: dict[Key, RefusedRow] = {}
            try:
                async with self._savepoint():
                    await self._rows.delete(self._connection, [change.key for change in group])
                    for change in group:
                        why = await self._try([change])
                        if why is not None:
                            losers[change.key] = why
                    if losers:
                        raise _Undone
            except _Undone:
                refused |= losers
                group = [change for change in group if change.key not in losers]
                continue
            except (DBAPIError, asyncpg.PostgresError) as error:
                # A row of somebody else's refers to one that would have to be deleted.
                if refused_row(error) is None:
                    raise
                refused |= {change.key: whys[change.key] for change in group}
            break
        return refused

    async def _cascades(self) -> bool:
        name = {"name": self._rows.name}
        return bool(await self._connection.scalar(_CASCADES, name))
