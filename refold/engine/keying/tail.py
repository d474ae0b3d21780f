"""What a live table has applied since a segment's snapshot was taken, folded into its keys, too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding import poison_events
from refold.engine.folding.refolded_rows import Target
from refold.engine.sql.select_fold import in_sql
from refold.errors import PoisonEvent
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Row
from refold.projection.key import Key, loaded_key
from refold.runtime.threads import Hand, in_thread
from refold.source.keyed import side_keys
from refold.source.portions import portions_of
from refold.source.reader import as_events, in_key_order, in_position_order
from refold.source.sql.spans import Span
from refold.store.side_keys.tables import SideTable


class Tail:
    """The events of some keys between the target's position and the live table's checkpoint.

    Args:
        writer: In the transaction that holds the checkpoint.
        target: Where the rows go.
        low: Only keys above this (exclusive); None for no bound.
        high: Only keys up to this (inclusive); None for no bound.
    """

    def __init__(
        self, writer: AsyncConnection, target: Target, *, low: Key | None, high: Key | None
    ) -> None:
        self._writer = writer
        self._target = target
        self._low = low
        self._high = high

    async def fold(
        self, folded: dict[Key, Row | None], letters: list[Letter], position: int
    ) -> list[Letter]:
        """Folds the events that were followed since this segment's snapshot was taken, too.

        Args:
            folded: The rows of the keys so far; those that the tail changes are changed.
            letters: The poison events that hold some of the keys.
            position: The checkpoint.

        Returns:
            The poison events among it that hold keys which `letters` do not hold yet.
        """
        target, among = self._target, self._target.among_within(self._low, self._high)
        projection, side = target.projection, target.side
        # Read anew: the follower may have set some aside meanwhile.
        passed = await poison_events.passed_over(
            *(self._writer, projection, target.plan.generation), side=side
        )
        select = in_sql(projection)
        if select is not None:
            assert not isinstance(among, list), "its events are here"
            tail = Span(
                *(position, target.position),
                low=self._low,
                high=self._high,
                among=among,
                passed_over=passed,
            )
            keys = await select.keys(self._writer, tail)
            folded |= await select.rows(self._writer, keys, upto=position, passed_over=passed)
            return []
        if side is None:
            statement = in_key_order(
                projection,
                after=target.position,
                upto=position,
                low=self._low,
                high=self._high,
                among=among,
                passed_over=passed,
            )
        else:
            statement = in_position_order(
                types=projection.event_types,
                after=target.position,
                upto=position,
                since=projection.start_from,
                passed_over=passed,
            )
        held = {loaded_key(projection.table, letter.key) for letter in letters if letter.key}
        found = []
        hand = Hand(projection.name)
        async for texts in portions_of(self._writer, statement, upto=position):
            only = None if side is None else await self._own(side, texts, hand)
            found += await in_thread(self._fold_events, texts, folded, held, only, hand, hand=hand)
        return found

    async def _own(self, side: SideTable, texts: list[str], hand: Hand) -> set[Key]:
        """The keys of these events that are among those of the tail: PostgreSQL orders keys."""
        among: Any = self._target.among
        assert among is None or isinstance(among, Select), "its events are here"
        keys = await in_thread(self._keys_of, texts, hand, hand=hand)
        return await side_keys.within(
            *(self._writer, side, keys), low=self._low, high=self._high, among=among
        )

    def _keys_of(self, texts: list[str], hand: Hand) -> set[Key]:
        rows = self._target.projection.rows
        return {key for event in hand.each(as_events(texts)) for key in rows.keys_of(event)}

    def _fold_events(
        self,
        texts: list[str],
        folded: dict[Key, Row | None],
        held: set[Key],
        only: set[Key] | None,
        hand: Hand,
    ) -> list[Letter]:
        projection = self._target.projection
        found = []
        for event in hand.each(as_events(texts)):
            for key in projection.rows.keys_of(event):
                if key in held or (only is not None and key not in only):
                    continue
                fields = projection.rows.key_fields(key)
                try:
                    folded[key] = projection.rows.apply(folded.get(key), event, fields)
                except PoisonEvent as poison:
                    if not self._target.plan.poison.sets_aside:
                        raise
                    found.append(Letter.of(poison, key=key))
                    held.add(key)
        return found
