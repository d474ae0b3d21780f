"""Whether events become the same rows however they come: the promise that handlers must keep.

Refold folds whole keys in a rebuild, and event by event, in batches, in a live projection. A batch
whose transaction did not commit is done again, by whoever goes on. Between batches a row is what
the table holds.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Sequence

from refold.errors import PoisonEvent
from refold.event import Event, in_utc
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.testing.events import GivenEvent, as_events, decoded
from refold.testing.rows import differences

Rows = dict[Key, Row]

_MANY = 8


def assert_same_in_batches(
    projection: Projection, events: Iterable[GivenEvent], *, tries: int = 50, seed: int = 0
) -> None:
    """Asserts that any split of these events into batches gives the same rows.

    They are folded in one piece, in one piece again, key by key, one by one, and in random
    batches, some of which are begun twice, as after a crash. Between batches each row is taken
    out of the table and read again.

    Args:
        projection: The projection.
        events: As for `given`; several for a key, or there is nothing to find.
        tries: How many random splits, from 0.
        seed: What the random splits follow from.

    Raises:
        AssertionError: Rows differ; the message says in which batches.
        PoisonEvent: The events cannot be folded in one piece, as from `given`; so are other errors.
    """
    log = as_events(projection, events)
    whole = projection.fold(decoded(event) for event in log)
    folding = _Folding(projection, log, whole)
    folding.check("when folded once more", lambda: projection.fold(map(decoded, log)))
    folding.check("when folded key by key, as a rebuild does", folding.by_key)
    folding.check(
        "when each event is a batch", lambda: folding.in_batches([[event] for event in folding.log])
    )
    dice = random.Random(seed)
    for number in range(1, tries + 1):
        batches = _split(folding.log, dice)
        twice = frozenset(n for n in range(len(batches)) if dice.random() < 1 / 2)
        how = f"{_ends(batches, twice)} (seed {seed}, try {number})"
        folding.check(how, functools.partial(folding.in_batches, batches, twice))


class _Folding:
    """Folds one list of events in several ways."""

    def __init__(self, projection: Projection, log: Sequence[Event], whole: Rows) -> None:
        since = projection.start_from
        self.log = [
            in_utc(event)
            for event in log
            if event.type in projection.handlers and (since is None or event.recorded_at >= since)
        ]
        self._projection = projection
        self._whole = whole

    def check(self, how: str, fold: Callable[[], Rows]) -> None:
        """Requires that a way of folding gives the rows of the whole."""
        name = self._projection.name
        try:
            wrong = differences(self._whole, fold(), "in one piece", "so")
        except PoisonEvent as poison:
            wrong = f"  {poison}"
        if wrong:
            raise AssertionError(
                f"{name}: expected the same rows however the events come, got others {how}:\n"
                f"{wrong}\n"
                "A handler may depend on nothing but the row and the event that it is given: no "
                "clock, no random numbers, nothing that it remembers or changes elsewhere"
            )

    def by_key(self) -> Rows:
        """Each key's events by themselves, one key after the other."""
        keys = dict.fromkeys(
            key for event in self.log for key in self._projection.rows.keys_of(decoded(event))
        )
        rows: Rows = {}
        # The last key first: the order in which keys come is nobody's to rely on.
        for key in reversed(keys):
            rows |= self._applied({}, self.log, only=key)
        return rows

    def in_batches(
        self, batches: Sequence[Sequence[Event]], twice: frozenset[int] = frozenset()
    ) -> Rows:
        """One batch after the other; of those in `twice` a first attempt is thrown away."""
        rows: Rows = {}
        for number, batch in enumerate(batches):
            if number in twice:
                self._applied(self._read(rows), batch)
            rows = self._applied(self._read(rows), batch)
        return self._read(rows)

    def _applied(self, rows: Rows, batch: Sequence[Event], only: Key | None = None) -> Rows:
        fold, at_once = self._projection.rows, self._projection.key_fold
        of_keys: dict[Key, list[Event]] = {}
        for event in map(decoded, batch):
            for key in fold.keys_of(event):
                if only is not None and key != only:
                    continue
                if at_once is not None:
                    of_keys.setdefault(key, []).append(event)
                    continue
                _put(rows, key, fold.apply(rows.get(key), event, fold.key_fields(key)))
        for key, events in of_keys.items():
            assert at_once is not None
            try:
                after = fold.apply_at_once(rows.get(key), events, fold.key_fields(key), at_once)
            except Exception as error:
                raise fold.poison(events[0], error) from error
            _put(rows, key, after)
        return rows

    def _read(self, rows: Rows) -> Rows:
        """The rows as the table gives them: none of the objects that handlers made."""
        fold = self._projection.rows
        read: Rows = {}
        for key, row in rows.items():
            settled = fold.settled(None, fold.copied(row), fold.key_fields(key))
            assert settled is not None
            read[key] = settled
        return read


def _put(rows: Rows, key: Key, after: Row | None) -> None:
    if after is None:
        rows.pop(key, None)
    else:
        rows[key] = after


def _split(log: Sequence[Event], dice: random.Random) -> list[Sequence[Event]]:
    share = dice.random()
    cuts = [n for n in range(1, len(log)) if dice.random() < share]
    return [log[a:b] for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)]


def _ends(batches: Sequence[Sequence[Event]], twice: frozenset[int]) -> str:
    ends = [
        f"{batch[-1].position}{' (begun twice)' if number in twice else ''}"
        for number, batch in enumerate(batches)
        if batch
    ]
    more = f" and {len(ends) - _MANY} more" if len(ends) > _MANY else ""
    return f"in batches that end at positions {', '.join(ends[:_MANY])}{more}"
