"""One attempt's work on one slice of the log: keys made and committed, with how far they reach."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.keying.computing import Computing, Records, write_down
from refold.runtime.database import own_transaction
from refold.runtime.threads import in_thread
from refold.source.portions import position_of
from refold.store.side_keys import slices
from refold.store.side_keys.slices import Slice
from refold.store.side_keys.tables import SideTable

COMMITTED_AT_ONCE = 10_000
"""Keys are small: a transaction for each thousand would cost as much as they do."""

# But who waits is not to wait for long, and little is to be done again after a crash.
_SLOW_SECONDS = 0.5


class SliceWork:
    """One attempt's work on one slice.

    Args:
        writer: The connection that commits.
        side: Where keys are written down.
        taken: The slice as it was when this attempt took it over.
        computing: What makes the keys.

    Attributes:
        events: How many events this attempt has committed.
        taken_in: How many events it has in hand.
        is_slow: Whether these have taken long: they are to be committed soon.
    """

    def __init__(
        self, writer: AsyncConnection, side: SideTable, taken: Slice, computing: Computing
    ) -> None:
        self._writer = writer
        self._side = side
        self._taken = taken
        self._computing = computing
        self._records: Records = []
        self._position = self._upto = taken.position
        self.taken_in = 0
        self.events = 0
        self.is_slow = False

    async def take(self, texts: list[str]) -> None:
        """Makes the keys of a chunk of events; what takes long is committed in between."""
        hand = self._computing.hand
        while texts:
            done = await in_thread(self._computing.keyed, texts, self._records, hand=hand)
            self.taken_in += done
            self._upto = position_of(texts[done - 1])
            texts = texts[done:]
            self.is_slow = hand.spent > _SLOW_SECONDS
            if texts:
                await self.commit()

    async def commit(self, upto: int | None = None) -> int:
        """Writes down what was taken in.

        Args:
            upto: Up to here (inclusive) is all that there is.

        Returns:
            The revision of what the run has been told.

        Raises:
            Fenced: Another attempt has taken over; nothing is written.
        """
        to = self._upto if upto is None else upto
        async with own_transaction(self._writer) as driver:
            told = await slices.advance(
                *(driver, self._side, self._taken),
                position=self._position,
                upto=to,
                events=self.taken_in,
                done=upto is not None,
            )
            await write_down(driver, self._side, self._records)
        self._computing.hand.renew()
        self._position, self._upto = to, to
        self.events += self.taken_in
        self.taken_in, self._records, self.is_slow = 0, [], False
        return told
