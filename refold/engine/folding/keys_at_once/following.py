"""A batch in order of position, applied by a function that takes many events of a key at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

from refold.engine.folding.applying import Applied, Applying, Keyed
from refold.errors import HandlerInterrupted, PoisonEvent
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.projection.reading.key_fold import KeyFold
from refold.runtime.threads import Hand
from refold.source.reader import as_events

# A batch can end only where all keys have come as far: after so many events at first, and twice as
# many each time that they took less than this, so that slow functions end in time.
_PIECE_SECONDS = 0.05
_MOST = 8192


def applying_of(projection: Projection) -> type[Applying]:
    """What applies events to a projection's rows: at once, where it has a function for that."""
    return Applying if projection.key_fold is None else KeysAtOnceApplying


class KeysAtOnceApplying(Applying):
    """Applies events as `Applying` does, with one call for those that a key has."""

    def applied(
        self, keyed: Keyed, current: dict[Key, Row | None], held: set[Key], hand: Hand
    ) -> Applied:
        """Applies events to the rows of their keys, as many as there is time for."""
        assert self.projection.key_fold is not None
        work = _Work(self, self.projection.key_fold, keyed, current, held, hand, Applied())
        applied = work.applied
        size, count = 1, len(keyed.events)
        while applied.events < count and not hand.due:
            began = perf_counter()
            end = min(count, applied.events + size)
            work.take(range(applied.events, end))
            applied.events = end
            took = perf_counter() - began
            size = min(_MOST, 2 * size) if took < _PIECE_SECONDS else max(1, size // 2)
        hand.event = None
        return applied


@dataclass
class _Work:
    """One batch, piece by piece; what came of it is in `applied` and `current`."""

    applying: Applying
    fold: KeyFold
    keyed: Keyed
    current: dict[Key, Row | None]
    held: set[Key]
    hand: Hand
    applied: Applied

    def take(self, numbers: Iterable[int]) -> None:
        """Applies the events of these numbers within the batch, key by key."""
        of_keys: dict[Key, list[int]] = {}
        for number in numbers:
            for key in self.keyed.keys[number]:
                if key not in self.held:
                    of_keys.setdefault(key, []).append(number)
        poisons = [
            (poison, key)
            for key, its in of_keys.items()
            if (poison := self._at_once(key, its)) is not None
        ]
        # The first one ends all, where none is set aside.
        for poison, key in sorted(poisons, key=lambda found: found[0].position):
            self.applied.letters.append(self.applying.letter(poison, key))
            self.held.add(key)

    def _at_once(self, key: Key, numbers: list[int]) -> PoisonEvent | None:
        rows = self.applying.projection.rows
        events = [self.keyed.events[number] for number in numbers]
        self.hand.begin(events[0])
        try:
            row = rows.apply_at_once(self.current[key], events, rows.key_fields(key), self.fold)
        except HandlerInterrupted:
            raise
        except BaseException:  # which event it is for is found one by one
            return self._one_by_one(key, numbers)
        self.current[key] = row
        self.applied.keys[key] = events[-1].position
        return None

    def _one_by_one(self, key: Key, numbers: list[int]) -> PoisonEvent | None:
        """Applies a key's events up to the one that cannot be taken, if one cannot."""
        rows = self.applying.projection.rows
        # Decoded anew: the function may have changed those that it was given.
        for event in as_events([self.keyed.texts[number] for number in numbers]):
            self.hand.begin(event)
            try:
                self.current[key] = rows.apply(self.current[key], event, rows.key_fields(key))
            except PoisonEvent as poison:
                return poison
            self.applied.keys[key] = event.position
        return None
