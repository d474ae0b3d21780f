"""Many rows of a table that stand in it or not, put right together: new ones by COPY."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.tables.rows import RowStore

# PostgreSQL keeps large values of a table's rows in a table of their own, and does not COPY to a
# table whose policies bind this role.
_STANDING = text(
    "SELECT coalesce(pg_relation_size(nullif(reltoastrelid, 0)) > 0, false) AS has_large, "
    "NOT row_security_active(oid) AS takes_copy FROM pg_class WHERE oid = to_regclass(:name)"
)
# Of fewer rows, a COPY costs as much as it saves.
_WORTH_COPY = 50


@dataclass(frozen=True)
class Standing:
    """How a table stands.

    Attributes:
        has_large: Whether some of its rows may be large: above 2,000 bytes.
        takes_copy: Whether rows may be added by COPY.
    """

    has_large: bool
    takes_copy: bool


async def standing_of(connection: AsyncConnection, rows: RowStore) -> Standing:
    """How a table stands now."""
    row = (await connection.execute(_STANDING, {"name": rows.name})).one()
    return Standing(row.has_large, row.takes_copy)


@dataclass
class Together:
    """What becomes of many keys of one table.

    Attributes:
        gone: Keys whose rows are deleted.
        added: Rows that the table has not.
        changed: Rows in the place of those with the same key.
    """

    gone: list[Key] = field(default_factory=list)
    added: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, keys: Iterable[tuple[Key, Row | None, Row | None]]) -> Together:
        """What becomes of keys, each with its row as it stands and as it is to be."""
        together = cls()
        for key, before, after in keys:
            if after is before:
                continue
            if after is None:
                together.gone.append(key)
            elif before is None:
                together.added.append(after)
            else:
                together.changed.append(after)
        return together

    async def write(self, connection: AsyncConnection, rows: RowStore, *, takes_copy: bool) -> None:
        """Writes it all, in the caller's transaction.

        Args:
            connection: In a transaction.
            rows: The table.
            takes_copy: Whether rows may be added by COPY.

        Raises:
            DBAPIError, PostgresError: PostgreSQL refuses a row.
        """
        await rows.delete(connection, self.gone)
        if takes_copy and len(self.added) >= _WORTH_COPY:
            await rows.load(await raw(connection), self.added)
            await rows.upsert_at_once(connection, self.changed)
        else:
            await rows.upsert_at_once(connection, [*self.added, *self.changed])
