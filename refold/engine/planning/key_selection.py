"""Selecting the keys that a run repairs, into a table of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.folding import poison_events
from refold.messages.run.selection import Selection
from refold.predicates import NamedPredicate, Predicate, parse_predicate
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.projection.registry import Registry
from refold.requests.poison_policy import Poison
from refold.requests.runs import BackfillRequest
from refold.runtime.threads import Hand, in_thread
from refold.source.keyed import side_keys
from refold.source.port.elsewhere import events_engine, is_elsewhere
from refold.source.portions import stream
from refold.source.push_down import pushed_down
from refold.source.reader import as_events, key_columns, misfit_of, written_keys
from refold.source.selection import (
    count_selected,
    found_keys,
    lacking_row,
    one_by_one,
    selected,
)
from refold.source.slices import raise_misfit
from refold.source.tenants import require_path
from refold.store import selected_keys
from refold.store.side_keys.tables import SideTable
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore

# How many events are read at a time where Python decides which are selected.
_FETCH = 1000


class KeySelection:
    """Finds the keys that a run repairs.

    Args:
        engine: For reading events one by one, where SQL alone cannot select them.
        registry: The predicates.
        tenant_path: Where an event names its tenant; None for nowhere.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, tenant_path: str | None) -> None:
        self._engine = engine
        self._registry = registry
        self._tenant_path = tenant_path

    def check(self, asked: BackfillRequest | Selection) -> Predicate | NamedPredicate | None:
        """The predicate, understood; before anything else is done.

        Raises:
            InvalidRequest: The predicate cannot be evaluated, or events name no tenant.
        """
        if asked.tenant is not None:
            require_path(asked.tenant, self._tenant_path)
        if asked.predicate is not None:
            return parse_predicate(asked.predicate)
        if asked.predicate_name is not None:
            return self._registry.predicate(asked.predicate_name)
        return None

    async def select(
        self,
        connection: AsyncConnection,
        projection: Projection,
        selection: Selection,
        *,
        run_id: str,
        poison: Poison,
        live: str,
        side: SideTable | None = None,
    ) -> int:
        """Writes the keys of the selected events into `refold.selected_keys`.

        Args:
            connection: In a transaction, which the caller commits.
            projection: The projection.
            selection: Which events.
            run_id: Whose keys they are; those of an earlier attempt are removed.
            poison: What is done with events whose key does not fit: if they are set aside, they
                name no key.
            live: The schema of the table that readers query.
            side: Where the keys of a function are; None if it has none.

        Returns:
            How many events were selected.

        Raises:
            InvalidRequest: See `check`.
            PredicateFailed: The predicate cannot decide about an event.
            PoisonEvent: The key of a selected event does not fit, and it is not set aside.
        """
        predicate = self.check(selection)
        conditions = selected(projection, selection, self._tenant_path)
        lacking = None
        if selection.missing and side is not None:
            conditions.append(side_keys.lacks_row(side, physical(projection, live)))
        elif selection.missing and is_elsewhere():
            lacking = RowStore(physical(projection, live))
        elif selection.missing:
            paths = projection.key_paths or ()
            conditions.append(lacking_row(paths, physical(projection, live)))
        conditions += await poison_events.selectable(
            connection, projection, selection, poison, side
        )
        exact = predicate is None
        if isinstance(predicate, Predicate):
            pushed = pushed_down(predicate)
            conditions += pushed.conditions
            exact = pushed.exact
        await selected_keys.remove(connection, run_id)
        if exact and side is not None:
            found = [*conditions, *written_keys(side)]
            if selection.missing:  # of an event with several keys only those that lack it
                found.append(lacking_row(side.parts, physical(projection, live)))
            columns = [part.stored for part in side.parts]
            await selected_keys.add_found(connection, run_id, columns, found)
            return await count_selected(connection, conditions)
        new = _NewKeys(connection, run_id, lacking)
        upto = selection.to_position
        if exact:
            return await self._by_sql(connection, projection, conditions, new, upto)
        assert predicate is not None
        return await self._by_python(projection, conditions, predicate, new, upto)

    async def _by_sql(
        self,
        connection: AsyncConnection,
        projection: Projection,
        conditions: list[ColumnElement[bool]],
        new: _NewKeys,
        upto: int,
    ) -> int:
        assert projection.key_paths is not None
        misfit = [*conditions, misfit_of(projection.key_paths)]
        if await count_selected(connection, misfit):
            await raise_misfit(connection, projection, misfit)
        if is_elsewhere():
            counted = 0
            async with aclosing(found_keys(connection, projection, conditions, upto=upto)) as found:
                async for keys in found:
                    counted += await new.add(keys)
            return counted
        columns = key_columns(projection.key_paths)
        has_key = [column.is_not(None) for column in columns]
        await selected_keys.add_found(connection, new.run_id, columns, [*conditions, *has_key])
        return await count_selected(connection, [*conditions, *has_key])

    async def _by_python(
        self,
        projection: Projection,
        conditions: list[ColumnElement[bool]],
        predicate: Predicate | NamedPredicate,
        new: _NewKeys,
        upto: int,
    ) -> int:
        counted = 0
        hand = Hand(projection.name)
        async for texts in self._chunks(conditions, upto):
            keys = await in_thread(_keys, projection, predicate, texts, hand, hand=hand)
            counted += await new.add(Counter(keys))
        return counted

    async def _chunks(
        self, conditions: list[ColumnElement[bool]], upto: int
    ) -> AsyncIterator[list[Any]]:
        async with (
            events_engine(self._engine).connect() as reader,
            stream(reader, one_by_one(conditions), fetch=_FETCH, upto=upto) as chunks,
        ):
            async for texts in chunks:
                yield texts


@dataclass
class _NewKeys:
    """Takes keys into `refold.selected_keys`.

    Attributes:
        connection: In the caller's transaction.
        run_id: Whose keys they are.
        lacking: Only keys that have no row there; None for all.
    """

    connection: AsyncConnection
    run_id: str
    lacking: RowStore | None

    async def add(self, keys: Mapping[Key, int]) -> int:
        """Adds keys, given with how many events name each; returns how many events these are."""
        if self.lacking is not None:
            there = await self.lacking.having_row(self.connection, list(keys))
            keys = {key: count for key, count in keys.items() if key not in there}
        await selected_keys.add(self.connection, self.run_id, keys)
        return sum(keys.values())


def _keys(
    projection: Projection,
    predicate: Predicate | NamedPredicate,
    texts: Sequence[str],
    hand: Hand,
) -> list[Key]:
    """The key of each event that the predicate selects, if it has one."""
    return [
        key
        for event in hand.each(as_events(texts))
        if predicate.matches(event)
        for key in projection.rows.keys_of(event)
    ]
