"""Keys and indexes of a loaded table; rows that they refuse are traced to their events."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import ExecutableDDLElement

from refold.engine.folding import poison_events
from refold.engine.folding.refolded_rows import RefoldedRows, Target
from refold.errors import RowRejected
from refold.messages.run.plan import Plan
from refold.projection.dead_letters import Letter, letter_key
from refold.projection.declaration import Projection
from refold.projection.key import Key, loaded_key
from refold.runtime.database import raw
from refold.runtime.driver import carry_out
from refold.store import dead_letters, generations
from refold.store.generations import Generation
from refold.store.swap.attached import built_as
from refold.store.tables import read_models
from refold.store.tables.read_models import physical, quoted
from refold.store.tables.refused_row import RefusedRow, refused_row
from refold.store.tables.rows import RowStore

_SELF = text(
    "SELECT count(*) FROM pg_constraint WHERE conrelid = to_regclass(:name) "
    "AND confrelid = conrelid AND conname = :constraint"
)
_PAGES = text("SELECT pg_relation_size(to_regclass(:name)) / current_setting('block_size')::int")


class Indexing:
    """Adds what a projection's table declares to its loaded copy.

    A row that PostgreSQL refuses then is put back to what it was before the event that made it so,
    if the event is set aside; otherwise that event ends the run.

    Args:
        connection: In a transaction.
        plan: The run's; its keys are made of paths.
        projection: In the version that folds.
        generation: The copy, loaded, with neither keys nor indexes.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        plan: Plan,
        projection: Projection,
        generation: Generation,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._projection = projection
        self._generation = generation
        self._rows = RowStore(physical(projection, generation.schema_name))

    async def add_all(self) -> None:
        """Adds all of it.

        Raises:
            PoisonEvent: A row is refused, and its event is not set aside.
            RowRejected: Rows are refused, and which event is behind that cannot be said.
        """
        place = self._generation.schema_name
        statements = await read_models.declared(self._connection, self._projection, place)
        for number, statement in enumerate(statements):
            if (why := await self._added(statement)) is not None:
                await self._load_anew(number, why)

    async def _added(self, statement: ExecutableDDLElement) -> RefusedRow | None:
        """Adds one of them; why not, if a row stands in its way."""
        try:
            async with self._connection.begin_nested():
                await carry_out(self._connection, statement)
        except DBAPIError as error:
            refused = refused_row(error)
            if refused is None:
                raise
            return refused
        return None

    async def _load_anew(self, number: int, why: RefusedRow) -> None:
        """Puts another table in the copy's place: one that has this, and all rows that it takes.

        Deleting rows would not do: an index is made of those that are just deleted, too.
        """
        connection, projection = self._connection, self._projection
        schema = f"{self._generation.schema_name}_tried"
        await read_models.create_shadow(connection, projection, schema)
        tried = RowStore(physical(projection, schema))
        for statement in (await read_models.declared(connection, projection, schema))[: number + 1]:
            await carry_out(connection, statement)
        named = {"name": tried.name, "constraint": why.constraint}
        if await connection.scalar(_SELF, named):
            raise RowRejected(f"{why.reason(projection)}: check the handlers against it")
        most = 1
        if self._plan.poison.sets_aside:
            most += poison_events.most_letters(self._plan.poison)
        pages = int(await connection.scalar(_PAGES, {"name": self._rows.name}) or 0)
        keys = (await self._refused_within(tried, 0, pages, most))[:most]
        if not keys:
            raise RowRejected(f"{why.reason(projection)}: check the handlers against it")
        passed = await poison_events.passed_over(connection, projection, self._plan.generation)
        target = Target(
            self._plan, projection, self._generation, tried, self._plan.position, None, passed
        )
        refolded = RefoldedRows(connection, target, self._plan.position, bare=True)
        present = await self._rows.read(connection, keys)
        held = await self._letters(keys)
        letters = await refolded.put(dict(present), held)
        # The key that claimed a value later gives in; that may be another key.
        keys = list({*keys, *[loaded_key(projection.table, one.key or []) for one in letters]})
        await self._hold(keys, letters)
        await connection.exec_driver_sql(f"DROP TABLE {self._rows.name}")
        place = self._generation.schema_name
        await read_models.move(connection, projection.table.name, old=schema, new=place)
        await connection.exec_driver_sql(f"DROP SCHEMA {quoted(schema)}")

    async def _refused_within(self, tried: RowStore, low: int, high: int, most: int) -> list[Key]:
        """The keys of the rows on the pages low <= page < high that are refused, up to `most`."""
        if low >= high:
            return []
        within = f"ctid >= '({low},0)'::tid AND ctid < '({high},0)'::tid"
        if await self._adds(tried, within):
            return []
        if high - low == 1:
            return await self._refused_on(tried, within, most)
        middle = (low + high) // 2
        found = await self._refused_within(tried, low, middle, most)
        if len(found) < most:
            found += await self._refused_within(tried, middle, high, most - len(found))
        return found

    async def _refused_on(self, tried: RowStore, within: str, most: int) -> list[Key]:
        names = ", ".join(quoted(name) for name in self._rows.key_names)
        # In the order of their keys: the same ones each time.
        sql = f"SELECT ctid::text FROM {self._rows.name} WHERE {within} ORDER BY {names}"
        driver = await raw(self._connection)
        found: list[Key] = []
        for (place,) in await driver.fetch(sql):
            if len(found) < most and not await self._adds(tried, f"ctid = '{place}'::tid"):
                sql = f"SELECT {names} FROM {self._rows.name} WHERE ctid = '{place}'::tid"
                record = await driver.fetchrow(sql)
                assert record is not None
                found.append(record[0] if len(record) == 1 else tuple(record))
        return found

    async def _adds(self, tried: RowStore, condition: str) -> bool:
        names = ", ".join(quoted(name) for name in self._rows.written)
        try:
            async with self._connection.begin_nested():
                await self._connection.exec_driver_sql(
                    f"INSERT INTO {tried.name} ({names}) "
                    f"SELECT {names} FROM {self._rows.name} WHERE {condition}"
                )
        except DBAPIError as error:
            if refused_row(error) is None:
                raise
            return False
        return True

    async def _letters(self, keys: list[Key]) -> list[Letter]:
        wanted = [letter_key(key) for key in keys]
        name, generation = self._projection.name, self._plan.generation
        listed = await dead_letters.listed(self._connection, name, generation)
        return [
            Letter(one.key, one.position, one.type, one.stream_id, one.error, one.trace)
            for one in listed
            if one.key in wanted
        ]

    async def _hold(self, keys: list[Key], letters: list[Letter]) -> None:
        name, generation = self._projection.name, self._plan.generation
        released = await dead_letters.release_keys(self._connection, name, generation, keys)
        await dead_letters.add(
            await raw(self._connection),
            name,
            generation,
            letters,
            most=poison_events.most_letters(self._plan.poison),
            run_id=self._plan.run_id,
            replaced=released,
        )


async def add_indexes(
    connection: AsyncConnection,
    projection: Projection,
    generation: Generation,
    *,
    refers: bool = True,
) -> None:
    """Adds what the projection's table declares, and records what that came to.

    Args:
        connection: In a transaction.
        projection: The projection.
        generation: Its table is loaded.
        refers: With the foreign keys; a copy that is only kept has none.
    """
    place = generation.schema_name
    await read_models.add_indexes(connection, projection, place, refers=refers)
    await note_what_it_is(connection, projection, generation)


async def note_what_it_is(
    connection: AsyncConnection, projection: Projection, generation: Generation
) -> None:
    """Records what a table with its indexes has."""
    place, number = generation.schema_name, generation.generation
    built = await built_as(connection, place, generation.table_name)
    await generations.set_built_with(connection, projection.name, number, built)
