"""Which moments a follower keeps as snapshots, and what it keeps for those that there are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.created_json import created, created_of_all
from refold.event import Event
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.source.event_counts import count_of_types
from refold.store import generations, system_events
from refold.store.generations import ACTIVE, BUILDING, Generation
from refold.store.snapshots import changes, json_rows, kept
from refold.store.tables.rows import RowStore
from refold.system_events.events import ProjectionSnapshotCreated

logger = logging.getLogger(__name__)

# Of so many keys it is remembered that they are kept since the latest snapshot. Beyond that, some
# are kept twice, which costs room and does no harm.
_REMEMBERED = 100_000


@dataclass(frozen=True)
class _State:
    """How things stand with one generation's snapshots.

    Attributes:
        marked: Whether it has any, so that what changes must be kept.
        has_json: Whether what `create` makes of its rows is kept up.
        counted: Events since the latest; None when they do not count.
        again: Whether keys that were kept are to be kept again.
        fresh: Keys that have been kept and are not remembered yet.
    """

    marked: bool = False
    has_json: bool = False
    counted: int | None = None
    again: bool = False
    fresh: tuple[Key, ...] = ()


@dataclass
class Moments:
    """The snapshots of one generation, as its follower makes them; see `take_moments`.

    What a transaction has done counts once it is committed: between `begin` and `settle`.
    """

    projection: Projection
    generation: Generation
    rows: RowStore
    _state: _State
    _next: _State = field(default_factory=_State)
    _kept: set[Key] = field(default_factory=set)

    def begin(self) -> None:
        """A transaction begins; what an earlier one that came to nothing has done is forgotten."""
        self._next = self._state

    def settle(self) -> None:
        """The transaction has been committed, or goes on with another batch."""
        if self._next.again or len(self._kept) > _REMEMBERED:
            self._kept.clear()
        self._kept.update(self._next.fresh)
        self._state = self._next = replace(self._next, again=False, fresh=())

    @property
    def marked(self) -> bool:
        """Whether there are any, so that what changes must be kept."""
        return self._state.marked

    @property
    def idle(self) -> bool:
        """Whether there are none, and none become due."""
        policy = self.projection.snapshots
        return not (self.marked or policy.every_n_events is not None or policy.trigger_on)

    @property
    def types(self) -> list[str] | None:
        """The event types that are read: also those that only make a snapshot due; None for all."""
        types = self.projection.event_types
        return None if types is None else sorted({*types, *self.projection.snapshots.trigger_on})

    def limit(self, batch_size: int) -> int:
        """How many events the next batch may have: it ends where a snapshot is due by number."""
        every = self.projection.snapshots.every_n_events
        if every is None or self._state.counted is None:
            return batch_size
        return max(1, min(batch_size, every - self._state.counted))

    def is_trigger(self, event: Event) -> bool:
        """Whether the event makes a snapshot due, so that a batch ends with it."""
        return event.type in self.projection.snapshots.trigger_on

    def due(self, events: list[Event]) -> bool:
        """Whether a snapshot is due after these events, the next ones."""
        if not events:
            return False
        every, counted = self.projection.snapshots.every_n_events, self._state.counted
        by_number = every is not None and counted is not None and counted + len(events) >= every
        return by_number or self.is_trigger(events[-1])

    def on_the_way(self, events: list[Event]) -> dict[str, Any]:
        """What moves together with the checkpoint when these events are applied."""
        due, counted = self.due(events), self._state.counted
        if counted is not None:
            counted = 0 if due else counted + len(events)
        self._next = replace(self._next, counted=counted)
        return {"changes_kept": self._state.marked or due, "counted_events": counted}

    async def keep(
        self,
        connection: AsyncConnection,
        position: int,
        written: Mapping[Key, tuple[Row | None, Row | None]],
        event: Event | None,
    ) -> None:
        """Keeps what rows were, unless it was kept since the latest snapshot.

        Args:
            connection: In the transaction that has written them.
            position: The checkpoint before it.
            written: By key, the row before and the row after; the same object where nothing has
                changed.
            event: One of the events that have changed them.

        Raises:
            SnapshotRejected: `create` makes nothing of a row that JSON can hold.
        """
        if not self._state.marked:
            return
        after = {key: row for key, (was, row) in written.items() if was is not row}
        before = {key: written[key][0] for key in after if key not in self._kept}
        made_before: dict[Key, str | None] = {}
        made_after: dict[Key, str | None] = {}
        if self._state.has_json and after:
            made_before = await created(self.projection, before, event)
            made_after = await created(self.projection, after, event)
        driver = await raw(connection)
        name, number = self.generation.projection, self.generation.generation
        kept_now = changes.Changes(before, made_before)
        await changes.keep(driver, name, number, self.rows, position=position, changes=kept_now)
        if made_after:
            await json_rows.put(driver, name, number, self.rows, made_after)
        self._next = replace(self._next, fresh=tuple(before))

    async def make(self, connection: AsyncConnection, position: int, event: Event | None) -> None:
        """Makes a snapshot, at the end of the transaction that moves the checkpoint to `position`.

        Args:
            connection: In that transaction.
            position: Up to which events are in it.
            event: The last of them, when it was read.

        Raises:
            SnapshotRejected: `create` makes nothing of a row that JSON can hold.
        """
        policy, name = self.projection.snapshots, self.generation.projection
        trigger = event.type if event is not None and self.is_trigger(event) else None
        has_json = policy.create is not None
        driver, building = await raw(connection), self.generation.status == BUILDING
        made = await kept.make(
            driver, self.generation, position=position, trigger=trigger, has_json=has_json
        )
        if made is None:
            return
        if has_json and not self._state.has_json:
            await created_of_all(connection, self.projection, self.generation, self.rows, event)
        number = self.generation.generation
        dropped = await kept.drop_beyond(
            driver, name, policy.keep_last, building=number if building else None
        )
        if made in dropped:  # there are later ones, as its checkpoint was set back
            return
        if self.generation.status == ACTIVE:
            happened = ProjectionSnapshotCreated(
                projection=name, generation=number, position=position
            )
            await system_events.record(connection, happened)
        self._next = replace(self._next, marked=True, has_json=has_json, again=True, fresh=())


async def take_moments(
    connection: AsyncConnection, projection: Projection, generation: Generation, rows: RowStore
) -> Moments:
    """How things stand with the snapshots of a generation that is being taken over.

    One that is due already is made. Snapshots are forgotten whose changes an older worker has not
    kept.

    Args:
        connection: In the transaction that has taken the generation's fence.
        projection: In the version that follows.
        generation: The generation, with a checkpoint.
        rows: Its table.
    """
    name, number, position = projection.name, generation.generation, generation.position or 0
    policy = projection.snapshots
    newest = await kept.newest_of(connection, name, number)
    counted = generation.counted_events
    if generation.changes_kept_to is not None and (
        newest is None or generation.changes_kept_to != position
    ):
        if newest is not None:
            logger.warning(
                "snapshots of %s, generation %d, are dropped: its checkpoint was moved from %d to "
                "%d by a worker that does not keep what it changes",
                name,
                number,
                generation.changes_kept_to,
                position,
            )
        await kept.forget(connection, name, number)
        newest = counted = None
    has_json = newest is not None and newest.has_json
    if has_json and policy.create is None:
        await kept.forget_json(connection, name, number)
        has_json = False
    if policy.every_n_events is None:
        counted = None
    elif counted is None:
        earlier = await kept.newest_first(connection, name)
        since = max((one.position for one in earlier if one.position <= position), default=0)
        counted = await count_of_types(
            connection,
            projection.event_types,
            after=since,
            upto=position,
            most=policy.every_n_events,
        )
    moments = Moments(projection, generation, rows, _State(newest is not None, has_json, counted))
    if policy.every_n_events is not None and (counted or 0) >= policy.every_n_events:
        moments.begin()
        await moments.make(connection, position, None)
        moments.settle()
        moments._state = replace(moments._state, counted=0)
        await generations.set_kept(connection, name, number, position=position, counted=0)
    return moments
