"""Folds some keys again from their events, in plain Python, to know what their rows must be.

Events, bytes and time bound the work; the note says what was left out because of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import sample
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.event import Event
from refold.projection.dead_letters import HeldKeys
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.runtime.threads import in_thread
from refold.source.event_sizes import measured, read_chunks
from refold.source.keyed import side_keys
from refold.source.log import count_events
from refold.source.port.current import events
from refold.source.port.elsewhere import reading
from refold.source.reader import key_columns, keyed_events, not_at, one_of, wanted
from refold.source.stepwise.fold import Rows, StepwiseFold
from refold.store.side_keys.tables import SideTable


@dataclass(frozen=True)
class Bounds:
    """How much is folded again at most.

    Attributes:
        events: How many events, over all keys.
        events_of_a_key: How many events of one key; a key with more is left out.
        bytes: How many bytes of events as JSON, over all keys.
        bytes_of_rows: How many bytes of rows, when the key is a function: all are folded at once.
        seconds: How long it may take in all; keys that are in hand then are left out.
    """

    events: int = 20_000
    events_of_a_key: int = 10_000
    bytes: int = 256 << 20
    bytes_of_rows: int = 64 << 20
    seconds: float = 60.0


BOUNDS = Bounds()

# How many keys have their rows in memory at a time; how many events are measured at a time.
_KEYS_AT_ONCE = 10
_EVENTS_AT_ONCE = 200


class Oracle:
    """Folds keys again, as they must be at a position.

    Args:
        connection: In the transaction in which the rows are read.
        projection: The projection.
        upto: Only events up to this position (inclusive).
        passed_over: The positions of events that are left out.
        held: The keys that are held for a dead letter; they are left out.
        bounds: How much is done at most; `BOUNDS` when left out.
        side: Where the keys of a function are; None when nobody has written them down.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        projection: Projection,
        *,
        upto: int,
        passed_over: Sequence[int] = (),
        held: HeldKeys | None = None,
        bounds: Bounds | None = None,
        side: SideTable | None = None,
    ) -> None:
        self._connection = connection
        self._side = side
        self._projection = projection
        self._upto = upto
        self._passed_over = passed_over
        self._held = held or HeldKeys()
        self._bounds = bounds or BOUNDS
        self._end = monotonic() + self._bounds.seconds
        self._left_out: Counter[str] = Counter()
        self._refused: str | None = None

    @property
    def note(self) -> str | None:
        """What was left out, and why, so far; None when nothing was."""
        if self._refused is not None:
            return f"No key was folded again: {self._refused}."
        sentences = []
        for reason, count in self._left_out.items():
            were = "1 key was" if count == 1 else f"{count:,} keys were"
            sentences.append(f"{were} not folded again: {reason}.")
        return " ".join(sentences) or None

    async def fold(self, keys: Iterable[Key]) -> AsyncGenerator[Rows, None]:
        """Folds all events of some keys, a few keys at a time.

        A key function cannot be asked for the events of a key, unless a run has written its keys
        down. The whole log is folded then if the
        projection reads few enough of it, and as many keys as were asked for are added at random
        from what comes out.

        Args:
            keys: Which keys, the most wanted first.

        Raises:
            PoisonEvent: An event that a handler or the key cannot take.
            UnreadableEvent: An event whose JSON cannot be read.
        """
        asked = [key for key in dict.fromkeys(keys) if key not in self._held]
        is_known = self._projection.key_paths is not None or self._side is not None
        folding = self._of_keys if is_known else self._of_function
        async with reading(self._connection, upto=self._upto) as self._connection:
            async for rows in folding(asked):
                yield rows

    # -- a key whose events are known --------------------------------------------------------

    async def _of_keys(self, asked: list[Key]) -> AsyncIterator[Rows]:
        if not asked:
            return
        chosen = await self._affordable(asked)
        positions = await self._positions(chosen)
        left = self._bounds.bytes
        for group in _groups(chosen, positions):
            if monotonic() >= self._end:
                self._leave_out(group, _NO_TIME)
                continue
            of_group = [position for key in group for position in positions.get(key, ())]
            sizes = await measured(self._connection, of_group, most=left)
            affordable = []
            for key in group:
                of_key = positions.get(key, ())
                size = sum(sizes.get(position, left + 1) for position in of_key)
                if size > left:
                    self._leave_out([key], _TOO_LARGE)
                else:
                    affordable.append(key)
                    left -= size
            rows = await self._folded(affordable, positions, sizes)
            if rows is None:
                self._leave_out(affordable, _NO_TIME)
            else:
                yield rows

    async def _folded(
        self, keys: list[Key], positions: dict[Key, list[int]], sizes: dict[int, int]
    ) -> Rows | None:
        """The rows of some keys; None when the time is over."""
        fold = StepwiseFold(self._projection, only=keys)
        of_all = [position for key in keys for position in positions.get(key, ())]
        async for chunk in read_chunks(self._connection, of_all, sizes):
            if not await self._take(fold, chunk):
                return None
        return {key: fold.rows.get(key) for key in keys}

    async def _affordable(self, asked: list[Key]) -> list[Key]:
        counts = await self._counts(asked)
        chosen = []
        left = self._bounds.events
        for key in asked:
            count = counts.get(key, 0)
            if count > min(self._bounds.events_of_a_key, left):
                self._leave_out([key], _TOO_MANY)
            else:
                chosen.append(key)
                left -= count
        return chosen

    async def _counts(self, keys: list[Key]) -> dict[Key, int]:
        if self._side is not None:
            return await side_keys.counts(self._connection, self._side, keys, upto=self._upto)
        # Grouped in an outer query: PostgreSQL takes an expression with parameters and its copy in
        # GROUP BY for two different expressions.
        columns, conditions = self._among(keys)
        inner = select(*columns).where(*conditions).subquery()
        statement = select(func.count(), *inner.c).group_by(*inner.c)
        rows = await self._connection.execute(statement)
        return {_key(key): count for count, *key in rows}

    async def _positions(self, keys: list[Key]) -> dict[Key, list[int]]:
        """The positions of the keys' events, ascending."""
        if self._side is not None:
            return await side_keys.positions(
                *(self._connection, self._side, keys),
                upto=self._upto,
                passed_over=self._passed_over,
            )
        found: dict[Key, list[int]] = {}
        if keys:
            columns, conditions = self._among(keys)
            statement = select(events().c.position, *columns).where(
                *conditions, *not_at(self._passed_over)
            )
            for position, *key in await self._connection.execute(
                statement.order_by(events().c.position)
            ):
                found.setdefault(_key(key), []).append(position)
        return found

    def _among(self, keys: list[Key]) -> tuple[list[ColumnElement[Any]], list[ColumnElement[bool]]]:
        paths = self._projection.key_paths
        assert paths is not None
        columns = [column.label(f"k{i}") for i, column in enumerate(key_columns(paths))]
        conditions = [
            events().c.position <= self._upto,
            *keyed_events(self._projection),
            one_of(paths, keys),
        ]
        return [*columns], conditions

    # -- a key that is a function ------------------------------------------------------------

    async def _of_function(self, asked: list[Key]) -> AsyncIterator[Rows]:
        types, since = self._projection.event_types, self._projection.start_from
        count = await count_events(self._connection, types=types, upto=self._upto, since=since)
        if count > self._bounds.events:
            self._refused = (
                f"the key is a function, and {count:,} events are too many to fold them all"
            )
            return
        statement = select(events().c.position).where(
            events().c.position <= self._upto,
            *wanted(types, since),
            *not_at(self._passed_over),
        )
        found = await self._connection.execute(statement.order_by(events().c.position))
        positions = list(found.scalars())
        sizes = await measured(self._connection, positions, most=self._bounds.bytes)
        if sum(sizes.values()) > self._bounds.bytes:
            self._refused = (
                "the key is a function, and the events are too large to fold them all "
                f"(more than {self._bounds.bytes >> 20:,} MB)"
            )
            return
        # Held keys are left out; no other key has a poison event.
        fold = StepwiseFold(self._projection, sets_aside=bool(self._held))
        async for chunk in read_chunks(self._connection, positions, sizes):
            if not await self._take(fold, chunk):
                self._refused = f"the key is a function, and {_NO_TIME}"
                return
            if fold.size() > self._bounds.bytes_of_rows:
                self._refused = (
                    "the key is a function, and the rows are too large to fold them all "
                    f"(more than {self._bounds.bytes_of_rows >> 20:,} MB)"
                )
                return
        there = {key for key, row in fold.rows.items() if row is not None}
        others = [key for key in there - {*asked} if key not in self._held]
        drawn = sample(others, min(len(others), max(len(asked), 1)))
        chosen = [*asked, *drawn]
        for start in range(0, len(chosen), _KEYS_AT_ONCE):
            yield {key: fold.rows.get(key) for key in chosen[start : start + _KEYS_AT_ONCE]}

    # -- both --------------------------------------------------------------------------------

    async def _take(self, fold: StepwiseFold, chunk: list[Event]) -> bool:
        return await in_thread(fold.take, chunk, self._end, hand=fold.hand)

    def _leave_out(self, keys: list[Key], reason: str) -> None:
        if keys:
            self._left_out[reason] += len(keys)


_TOO_MANY = "too many events"
_TOO_LARGE = "events too large"
_NO_TIME = "there was no time"


def _groups(keys: list[Key], positions: dict[Key, list[int]]) -> Iterator[list[Key]]:
    """Groups of few keys that have few events together; a key of many events is alone."""
    group: list[Key] = []
    count = 0
    for key in keys:
        more = len(positions.get(key, ()))
        if group and (len(group) == _KEYS_AT_ONCE or count + more > _EVENTS_AT_ONCE):
            yield group
            group, count = [], 0
        group.append(key)
        count += more
    if group:
        yield group


def _key(parts: Sequence[Any]) -> Key:
    return parts[0] if len(parts) == 1 else tuple(parts)
