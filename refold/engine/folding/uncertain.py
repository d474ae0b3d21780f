"""Keys of which it is not known whether a batch has written them: folded anew, whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding import poison_events
from refold.engine.folding.refolded_rows import RefoldedRows, Target
from refold.engine.folding.rows_before import rows_before
from refold.engine.sql.select_fold import in_sql
from refold.errors import PoisonEvent
from refold.event import Event
from refold.messages.run.plan import Plan
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.projection.sql.declaration import batch_size_of
from refold.requests.poison_policy import Poison
from refold.runtime.database import raw
from refold.runtime.threads import Hand, in_thread
from refold.source.portions import portions_of
from refold.source.reader import as_events, at, in_key_order, in_position_order
from refold.source.sql.spans import Span
from refold.store import dead_letters
from refold.store.generations import Generation
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore


async def refold_keys(
    connection: AsyncConnection,
    projection: Projection,
    generation: Generation,
    after: int | None = None,
    *,
    at_positions: Sequence[int] | None = None,
) -> int:
    """Puts the keys right that some events up to the generation's position name.

    Their rows become the fold of their events up to that position, whatever stood there: it does
    not matter whether a batch had been written. Keys that are held for dead letters stay. A key
    that is a function costs a look at all events.

    Args:
        connection: In the transaction that holds the generation's row.
        projection: In the version that built it.
        generation: The generation, whose position is settled.
        after: The events are those above here: up to here (inclusive) they are certainly in the
            rows.
        at_positions: The events are those at these positions, which nobody has followed: what is
            poison among them is set aside, if poison events are.

    Returns:
        How many keys these were.

    Raises:
        PoisonEvent: A handler cannot take an event.
    """
    upto = generation.position
    assert upto is not None
    poison = projection.backfill.poison(Poison())
    passed = await poison_events.passed_over(connection, projection, generation.generation)
    work = _Work(projection, sets_aside=poison.sets_aside, new=at_positions is not None)
    types, since = projection.event_types, projection.start_from
    select = in_sql(projection)
    recent = in_position_order(types=types, upto=upto, after=after, since=since, passed_over=passed)
    if select is not None:
        named = Span(upto, after, passed_over=passed, only=at_positions)
        work.keys.update(await select.keys(connection, named))
    else:
        if at_positions is not None:
            recent = recent.where(at(at_positions))
        async for texts in portions_of(connection, recent, upto=upto):
            await in_thread(work.note, texts, hand=work.hand)
    work.keys -= await dead_letters.held_among(
        connection, projection.name, generation.generation, list(work.keys)
    )
    work.rows = dict.fromkeys(sorted(work.keys, key=str))
    if select is not None:
        work.rows = await select.rows(connection, work.rows, upto=upto, passed_over=passed)
    elif work.keys:
        await _fold(connection, projection, work, upto=upto, passed=passed)
    rows = RowStore(physical(projection, generation.schema_name))
    plan = _plan(projection, generation, poison)
    target = Target(plan, projection, generation, rows, upto, None, passed)
    before = await rows_before(connection, projection, generation.generation, rows)
    refolded = RefoldedRows(connection, target, upto, before=before)
    letters = await refolded.put(work.rows, list(work.held.values()))
    await dead_letters.add(
        await raw(connection),
        projection.name,
        generation.generation,
        [*work.keyless, *letters],
        most=poison_events.most_letters(poison),
        run_id=None,
    )
    if before is not None:
        await before.keep(upto)
    return len(work.keys)


async def _fold(
    connection: AsyncConnection,
    projection: Projection,
    work: _Work,
    *,
    upto: int,
    passed: Sequence[int],
) -> None:
    types, since = projection.event_types, projection.start_from
    wanted = in_position_order(types=types, upto=upto, since=since, passed_over=passed)
    if projection.key_paths is not None:
        wanted = in_key_order(
            projection,
            upto=upto,
            low=None,
            high=None,
            among=list(work.keys),
            passed_over=passed,
        )
    async for texts in portions_of(connection, wanted, upto=upto):
        await in_thread(work.fold, texts, hand=work.hand)


class _Work:
    """The keys, their rows so far, and the poison events that are set aside."""

    def __init__(self, projection: Projection, *, sets_aside: bool, new: bool) -> None:
        self.keys: set[Key] = set()
        self.rows: dict[Key, Row | None] = {}
        self.held: dict[Key, Letter] = {}
        self.keyless: list[Letter] = []
        self.hand = Hand(projection.name)
        self._projection = projection
        self._sets_aside = sets_aside
        self._new = new

    def note(self, texts: Sequence[str]) -> None:
        for event in self.hand.each(as_events(texts)):
            try:
                self.keys.update(self._projection.rows.keys_of(event))
            except PoisonEvent as poison:
                if not self._sets_aside:
                    raise
                if self._new:  # else it was set aside as it was followed
                    self.keyless.append(Letter.of(poison))

    def fold(self, texts: Sequence[str]) -> None:
        rows = self._projection.rows
        for event in self.hand.each(as_events(texts)):
            for key in self._keys_of(event):
                if key not in self.keys or key in self.held:
                    continue
                try:
                    self.rows[key] = rows.apply(self.rows[key], event, rows.key_fields(key))
                except PoisonEvent as poison:
                    if not (self._sets_aside and self._new):
                        raise
                    self.held[key] = Letter.of(poison, key=key)

    def _keys_of(self, event: Event) -> Iterable[Key]:
        try:
            return self._projection.rows.keys_of(event)
        except PoisonEvent:
            if not self._sets_aside:
                raise
            return []  # it has its letter


def _plan(projection: Projection, generation: Generation, poison: Poison) -> Plan:
    """What putting rows in place goes by: the generation, and what is done with poison events."""
    position = generation.position or 0
    return Plan(
        run_id="",
        projection=projection.name,
        version=projection.version,
        generation=generation.generation,
        atomic=False,
        position=position,
        head=position,
        partitions=0,
        max_concurrency=1,
        batch_size=batch_size_of(projection),
        total_events=0,
        heartbeat_seconds=0,
        poison=poison,
    )
