"""Why a row is as it is: every event of its key, with the row before and after."""

from __future__ import annotations

from dataclasses import dataclass

from refold.manager.connection import Connection
from refold.projection.dead_letters import DeadLetter
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key, stored_key
from refold.projection.sql.declaration import require_handlers
from refold.source.stepwise.row_life import RowLife, life_of
from refold.store import dead_letters, generations
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore

_NO_BOUND = 2**63 - 1


@dataclass(frozen=True)
class Explanation:
    """The life of one row, and what readers see of it.

    Attributes:
        projection: The projection.
        key: The key columns, by name.
        lives: The life under the version that was asked for, and under the one to compare with.
        generation: The generation that readers query; None when there is none.
        built_by: The version that built it.
        position: Its checkpoint; None when it is kept in a store apart, or there is none.
        row: The row that readers see; None for no row, or when `built_by` is no version here.
        is_right: Whether that row is what its version makes of the events up to the checkpoint;
            None when this was not looked at: another version built it, its checkpoint is kept
            apart, or the steps that were asked for end before it.
        letters: The dead letters that hold the key.
    """

    projection: str
    key: Row
    lives: list[RowLife]
    generation: int | None = None
    built_by: int | None = None
    position: int | None = None
    row: Row | None = None
    is_right: bool | None = None
    letters: tuple[DeadLetter, ...] = ()


class Explanations:
    """Tells the lives of rows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def explain(
        self,
        projection: Projection,
        key: Key,
        *,
        against: Projection | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> Explanation:
        """Why a row is as it is: every event of its key, with the row before and after.

        The events are folded here, by the code of the projection that is given: so it is the
        projection itself, not its name. With a key function, the whole log is read.

        Args:
            projection: Whose row, in the version whose handlers fold.
            key: The key: a value, or a tuple for a composite one.
            against: Another version of it, to compare with.
            after: Only steps after this position (exclusive); those before are folded, not told.
            limit: How many steps are told at most.

        Raises:
            ConfigurationError: The manager was made without a database.
            InvalidProjection: The projection is said in SQL.
            HandlerOverdue: A handler has taken too long.
            UnreadableEvent: The JSON of an event cannot be read.
        """
        versions = [projection, *([] if against is None else [against])]
        for version in versions:
            require_handlers(version, "explain")
        fields = projection.rows.key_fields(key)
        async with self._connection.connected() as connection:
            seen = await self._seen(versions, key)
            passed_over = await dead_letters.skipped(connection, projection.name)
            lives = [
                await life_of(
                    connection,
                    version,
                    key,
                    upto=_NO_BOUND,
                    after=after,
                    limit=limit,
                    mark=seen.position or 0,
                    passed_over=passed_over,
                )
                for version in versions
            ]
        return Explanation(
            projection=projection.name,
            key=fields,
            lives=lives,
            is_right=_is_right(seen, lives),
            generation=seen.generation,
            built_by=seen.built_by,
            position=seen.position,
            row=seen.row,
            letters=seen.letters,
        )

    async def _seen(self, versions: list[Projection], key: Key) -> _Seen:
        """What readers see, and the checkpoint at the same moment."""
        name = versions[0].name
        at_once = self._connection.engine.execution_options(isolation_level="REPEATABLE READ")
        async with at_once.connect() as connection, connection.begin():
            active = await generations.active(connection, name)
            if active is None:
                return _Seen()
            listed = await dead_letters.listed(connection, name, active.generation)
            # The columns of a table that another version has built are not known here.
            builder = next((p for p in versions if p.version == active.version), None)
            rows = None if builder is None else RowStore(physical(builder, active.schema_name))
            found = {} if rows is None else await rows.read(connection, [key])
        return _Seen(
            generation=active.generation,
            built_by=active.version,
            position=active.position if active.away is None else None,
            rows=rows,
            row=found.get(key),
            letters=tuple(letter for letter in listed if letter.key == stored_key(key)),
        )


@dataclass(frozen=True)
class _Seen:
    generation: int | None = None
    built_by: int | None = None
    position: int | None = None
    rows: RowStore | None = None
    row: Row | None = None
    letters: tuple[DeadLetter, ...] = ()


def _is_right(seen: _Seen, lives: list[RowLife]) -> bool | None:
    life = next((life for life in lives if life.version == seen.built_by), None)
    if life is None or seen.rows is None or seen.position is None:
        return None
    if not life.is_whole and (life.position or 0) < seen.position:
        return None
    return bool(seen.rows.freeze(seen.row) == seen.rows.freeze(life.row_then))
