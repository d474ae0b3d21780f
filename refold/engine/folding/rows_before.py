"""Rows as they were before they are put right in place, for the snapshots of their generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.created_json import created
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.snapshots import changes, json_rows, kept
from refold.store.tables.rows import RowStore

_LETTERS = """
    SELECT to_jsonb(l)::text FROM refold.dead_letters l WHERE projection = $1 AND generation = $2
"""


class RowsBefore:
    """What one transaction changes in a generation that has snapshots; see `rows_before`.

    Args:
        connection: In that transaction, which holds the generation's checkpoint.
        projection: In the version that writes.
        generation: The generation's number.
        rows: Its table.
        has_json: Whether what `create` makes of its rows is kept up.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        projection: Projection,
        generation: int,
        rows: RowStore,
        *,
        has_json: bool,
    ) -> None:
        self._connection = connection
        self._projection = projection
        self._generation = generation
        self._rows = rows
        self._has_json = has_json
        self._before: dict[Key, Row | None] = {}
        self._letters: dict[int, dict[str, Any]] = {}

    async def note(self, keys: Iterable[Key]) -> None:
        """Notes what the rows of these keys are, before they are written."""
        new = [key for key in keys if key not in self._before]
        found = await self._rows.read(self._connection, new)
        self._before.update({key: found.get(key) for key in new})

    def note_deleted(self, rows: Mapping[Key, Row]) -> None:
        """Notes rows that were deleted."""
        for key, row in rows.items():
            self._before.setdefault(key, row)

    async def note_letters(self) -> None:
        """Notes the generation's dead letters, before some of them are removed."""
        self._letters = await self._letters_now()

    async def keep(self, position: int) -> None:
        """Keeps what has changed, at the transaction's end.

        Args:
            position: The generation's checkpoint.

        Raises:
            SnapshotRejected: `create` makes nothing of a row that JSON can hold.
        """
        now = await self._rows.read(self._connection, list(self._before))
        frozen = self._rows.frozen
        was, became = {}, {}
        for key, row in self._before.items():
            after = now.get(key)
            # As JSON tells them apart: some different values are equal.
            if (row and frozen(row)) != (after and frozen(after)):
                was[key], became[key] = row, after
        there = await self._letters_now() if self._letters else {}
        removed = [letter for number, letter in self._letters.items() if number not in there]
        driver, name = await raw(self._connection), self._projection.name
        json_before: dict[Key, str | None] = {}
        if self._has_json and was:
            json_before = await created(self._projection, was, None)
            made = await created(self._projection, became, None)
            await json_rows.put(driver, name, self._generation, self._rows, made)
        await changes.keep(
            driver,
            name,
            self._generation,
            self._rows,
            position=position,
            changes=changes.Changes(was, json_before, removed),
        )

    async def _letters_now(self) -> dict[int, dict[str, Any]]:
        driver = await raw(self._connection)
        records = await driver.fetch(_LETTERS, self._projection.name, self._generation)
        letters = [orjson.loads(record[0]) for record in records]
        return {letter["id"]: letter for letter in letters}


async def rows_before(
    connection: AsyncConnection, projection: Projection, generation: int, rows: RowStore
) -> RowsBefore | None:
    """Begins to note what a transaction changes; None for a generation without snapshots.

    Args:
        connection: In the transaction, which holds the generation's checkpoint.
        projection: In the version that writes.
        generation: The generation's number.
        rows: Its table.
    """
    newest = await kept.newest_of(connection, projection.name, generation)
    if newest is None:
        return None
    has_json = newest.has_json
    if has_json and projection.snapshots.create is None:
        await kept.forget_json(connection, projection.name, generation)
        has_json = False
    return RowsBefore(connection, projection, generation, rows, has_json=has_json)
