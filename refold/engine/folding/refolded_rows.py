"""Whole keys put in place of what stood there, with what PostgreSQL refuses traced to events."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding import poison_events
from refold.engine.folding.refused_rows import Traced, Tracing
from refold.engine.folding.rows_before import RowsBefore
from refold.engine.keying.events_of_keys import events_of_keys
from refold.engine.sql.select_fold import in_sql
from refold.event import Event
from refold.messages.run.plan import Plan
from refold.projection.dead_letters import Letter, letter_key
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.threads import Hand, in_thread
from refold.source.reader import in_key_order, read_events
from refold.store import dead_letters
from refold.store.generations import Generation
from refold.store.side_keys.tables import SideTable
from refold.store.tables.changes import Change, Changes
from refold.store.tables.conflicts import holders
from refold.store.tables.refused_row import RefusedRow
from refold.store.tables.rows import RowStore

# At most so many rows that stand in each other's way are put right together; others wait.
_MOST_HOLDERS = 1000
_MOST_ROUNDS = 100

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


@dataclass
class Target:
    """Where a partition's rows go, and which events they are folded from.

    Attributes:
        plan: The run's plan.
        projection: The version that folds.
        generation: The generation that is written.
        rows: The table.
        position: The last position that is folded (inclusive).
        among: The keys that are folded; None for all. Where events are in another database, a list
            of those that come next, in order.
        upto_key: The last of these keys, when more come after them; None when none do.
        passed_over: The positions of events that are not folded.
        side: Where the keys of a function are; None if it has none.
        patient: Whether events may appear below a position that is settled.
        late_to: The number of the latest such event when reading began.
    """

    plan: Plan
    projection: Projection
    generation: Generation
    rows: RowStore
    position: int
    among: Select[Any] | list[Key] | None
    passed_over: list[int]
    upto_key: Key | None = None
    side: SideTable | None = None
    patient: bool = False
    late_to: int = 0

    def among_within(self, low: Key | None, high: Key | None) -> Select[Any] | list[Key] | None:
        """What `among` has of the keys with low < key <= high (None: no bound), and perhaps more.

        A list is in the order of Python, which is that of `refold.source.port.elsewhere.ORDER`.
        """
        if not isinstance(self.among, list):
            return self.among
        first = 0 if low is None else bisect_right(self.among, low)
        last = len(self.among) if high is None else bisect_right(self.among, high)
        return self.among[first:last]


class _GivesIn(Exception):
    """Ends a savepoint in which the other key was tried without its claim."""


class RefoldedRows:
    """Rows of whole keys of one generation, as of one position.

    Args:
        connection: In the transaction that writes them.
        target: Where the rows go, and which events they are folded from.
        position: The last position that is folded (inclusive).
        bare: Whether the table has no primary key yet, and none of these rows.
        before: Is told of each key before its row is written.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        target: Target,
        position: int,
        *,
        bare: bool = False,
        before: RowsBefore | None = None,
    ) -> None:
        self._connection = connection
        self._projection = target.projection
        self._plan = target.plan
        self._target = target
        self._rows = rows = target.rows
        self._position = position
        self._changes = Changes(connection, rows, bare=bare)
        self._tracing = Tracing(
            connection, self._changes, target.projection, target.generation, rows.name
        )
        self._bare = bare
        self._before = before
        self._select = in_sql(target.projection)
        self._passed_over: list[int] | None = None

    async def put(
        self, folded: dict[Key, Row | None], letters: Sequence[Letter] = ()
    ) -> list[Letter]:
        """Puts the rows in place, as far as PostgreSQL takes them.

        Args:
            folded: The rows; None for a key that has none.
            letters: The poison events that hold some of these keys; such a key is folded up to its
                event.

        Returns:
            The letters for all keys that are held: those given, and those behind refused rows.

        Raises:
            PoisonEvent: A row is refused, and its event is not set aside.
        """
        await self._note(folded)
        refused = await self._changes.put([Change(key, row) for key, row in folded.items()])
        if refused and not self._bare:
            refused = await self._with_holders(folded, refused)
        if self._select is not None:
            for key, why in refused.items():
                raise self._select.refused(key, why)
        held = {str(letter.key): letter for letter in letters}
        for key, why in refused.items():
            mark = str(letter_key(key))
            letter = held.get(mark)
            traced = await self._tracing.trace(key, None, await self._events([key], letter), why)
            other = await self._later_claim(key, folded[key], why, traced)
            if other is not None:
                loser, traced = other
                mark = str(letter_key(loser))
                held[mark] = traced.letter(loser)
            if not self._plan.poison.sets_aside:
                raise traced.poison
            if other is not None:
                continue
            if not self._bare or traced.row is not None:
                await self._changes.put([Change(key, traced.row)])
            held[mark] = traced.letter(key)
        return list(held.values())

    async def _later_claim(
        self, key: Key, row: Row | None, why: RefusedRow, traced: Traced
    ) -> tuple[Key, Traced] | None:
        """Takes a unique value from another key that has claimed it later, for this key.

        So the earlier event counts and the later one is refused, just as when both are followed.

        Returns:
            The other key and the event that is refused now; the rows of both keys are in place
            then. None when this key has to give in.
        """
        others = await self._holders(row, why)
        others -= await self._held(others)
        if len(others) != 1:
            return None
        (other,) = others
        await self._note([other])
        current = (await self._rows.read(self._connection, [other])).get(other)
        found: Traced | None = None
        with suppress(_GivesIn):
            async with self._connection.begin_nested():
                await self._rows.delete(self._connection, [other])
                if await self._changes.put([Change(key, row)]):
                    raise _GivesIn
                because = await self._changes.would_be_refused(Change(other, current))
                if because is None:
                    raise _GivesIn
                events = await self._events([other], None)
                found = await self._tracing.trace(other, None, events, because)
                if found.poison.position < traced.poison.position:
                    found = None
                    raise _GivesIn
                if not self._bare or found.row is not None:
                    await self._changes.put([Change(other, found.row)])
        return None if found is None else (other, found)

    async def _with_holders(
        self, folded: dict[Key, Row | None], refused: dict[Key, RefusedRow]
    ) -> dict[Key, RefusedRow]:
        """Folds the keys that hold what refused rows claim, too, and tries again.

        The row of such a key may be wrong and have its turn only later; it gets its turn now.
        """
        mine = {key: folded[key] for key in refused}
        others: dict[Key, Row | None] = {}
        if any(why.taken for why in refused.values()):
            # Partitions do this one after another: two that repair the same keys would never agree.
            name = f"refold.repair/{self._plan.projection}/{self._plan.generation}"
            await self._connection.execute(_LOCK, {"name": name})
        for _ in range(_MOST_ROUNDS):
            held_by: set[Key] = set()
            for key, why in refused.items():
                held_by |= await self._holders((mine | others)[key], why)
            new = held_by - folded.keys() - others.keys()
            new -= await self._held(new)
            if not any(why.taken for why in refused.values()) or (held_by and not new):
                break
            await self._note(new)
            others |= await self._folded(sorted(new, key=str))
            # A claim that no key holds any more was settled by another partition meanwhile.
            again = [Change(key, row) for key, row in (mine | others).items()]
            refused = await self._changes.put(again)
        return {key: why for key, why in refused.items() if key in mine}

    async def _note(self, keys: Iterable[Key]) -> None:
        if self._before is not None:
            await self._before.note(keys)

    async def _holders(self, row: Row | None, why: RefusedRow) -> set[Key]:
        if row is None or why.constraint is None or not why.taken:
            return set()
        found = await holders(self._connection, self._rows, row, why.constraint, most=_MOST_HOLDERS)
        return set(found)

    async def _held(self, keys: Iterable[Key]) -> set[Key]:
        generation = self._plan.generation
        return await dead_letters.held_among(
            self._connection, self._projection.name, generation, list(keys)
        )

    async def _folded(self, keys: Sequence[Key]) -> dict[Key, Row | None]:
        """The rows of other keys as they should be, so far as they can be folded."""
        if self._select is not None:
            passed = await self._passed()
            return await self._select.rows(
                self._connection, keys, upto=self._position, passed_over=passed
            )
        events, hand = await self._events(keys, None), Hand(self._projection.name)
        rows = await in_thread(self._projection.fold, hand.each(events), hand=hand)
        return {key: rows.get(key) for key in keys}

    async def _events(self, keys: Sequence[Key], held: Letter | None) -> list[Event]:
        upto = self._position if held is None else min(self._position, held.position - 1)
        if self._projection.key_paths is None:
            return await events_of_keys(
                *(self._connection, self._projection, keys),
                side=self._target.side,
                written=self._target.position,
                upto=upto,
                passed_over=await self._passed(),
            )
        statement = in_key_order(
            self._projection,
            upto=upto,
            low=None,
            high=None,
            among=keys,
            passed_over=await self._passed(),
        )
        return await read_events(self._connection, statement, upto=upto)

    async def _passed(self) -> list[int]:
        if self._passed_over is None:
            self._passed_over = await poison_events.passed_over(
                *(self._connection, self._projection, self._plan.generation),
                side=self._target.side,
            )
        return self._passed_over
