"""The oracle's fold, which takes some events at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic

from refold.errors import PoisonEvent
from refold.event import Event
from refold.projection.columns.sizes import size_of
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.threads import Hand

Rows = dict[Key, Row | None]
"""For each key its row, or None for no row."""


class StepwiseFold:
    """The steps of `Projection.fold`, for some keys, some events at a time.

    Args:
        projection: Whose handlers fold.
        only: Only these keys; None for all.
        sets_aside: Whether a poison event holds its key instead of ending the fold.

    Attributes:
        hand: What is being folded, for the watch on the thread.
        rows: What the keys are folded to so far.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        only: Collection[Key] | None = None,
        sets_aside: bool = False,
    ) -> None:
        self._projection = projection
        self._only = None if only is None else {*only}
        self._sets_aside = sets_aside
        self._held: set[Key] = set()
        self.hand = Hand(projection.name)
        self.rows: Rows = {}

    def take(self, chunk: Sequence[Event], end: float) -> bool:
        """Folds the next events; False when the time was over before the last one.

        Raises:
            PoisonEvent: An event that a handler or the key cannot take.
        """
        in_time = True
        for event in self.hand.each(chunk):
            if monotonic() >= end:
                in_time = False
                break
            for key in self._keys_of(event):
                if key in self._held or (self._only is not None and key not in self._only):
                    continue
                fields = self._projection.rows.key_fields(key)
                self.hand.begin(event)
                try:
                    self.rows[key] = self._projection.rows.apply(self.rows.get(key), event, fields)
                except PoisonEvent:
                    if not self._sets_aside:
                        raise
                    self._held.add(key)
        self.hand.event = None
        return in_time

    def _keys_of(self, event: Event) -> list[Key]:
        try:
            return self._projection.rows.keys_of(event)
        except PoisonEvent:
            if not self._sets_aside:
                raise
            return []

    def size(self) -> int:
        """About how many bytes the values of all rows take."""
        return sum(size_of(row) for row in self.rows.values())
