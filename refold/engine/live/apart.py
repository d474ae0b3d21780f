"""A live checkpoint that a store keeps, apart from its rows: taken over, moved, brought home.

The batch's transaction writes the rows and, beside the fence in `refold.generations`, where it
ended. Then one conditional write moves the store's record, and announces how far the next batch
may go. So whoever takes over knows which events are uncertain: those after the record's position
that a batch may have written. Their keys are folded anew, which is right whether it has or not.

The position in `refold.generations` is never gone on from while the checkpoint is away: it bounds
what is uncertain, and tells when the two have parted, as after a restored backup or a failover that
lost writes. Then nothing goes on.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.uncertain import refold_keys
from refold.errors import CheckpointLost, CheckpointStoreFailed, Fenced
from refold.projection.declaration import Projection
from refold.store import leases
from refold.store.checkpoints import away
from refold.store.checkpoints.record import Record
from refold.store.checkpoints.stores import CheckpointStores, Kept
from refold.store.generations import Away, Generation

logger = logging.getLogger(__name__)

# The earlier holder may move the record until this one has taken it.
_CLAIMS = 5


@dataclass
class Apart:
    """A record in a store, as its holder knows it.

    Attributes:
        kept: The store.
        name: The record's name.
        record: The record, as this holder wrote it last.
        reach: How many positions a batch may go beyond the checkpoint.
    """

    kept: Kept
    name: str
    record: Record
    reach: int

    async def moved(self, position: int) -> None:
        """Moves the checkpoint to where the batch ended that was just committed.

        Raises:
            Fenced: Another attempt has taken it over.
            CheckpointStoreFailed: The store does not answer, or answers with an error: whether it
                was moved is not known.
        """
        await self._write(position, position + self.reach)

    async def rest(self) -> None:
        """Announces that nothing is in hand: who takes over has nothing to fold anew.

        Raises:
            Fenced: Another attempt has taken it over.
            CheckpointStoreFailed: As for `moved`.
        """
        await self._write(self.record.position, self.record.position)

    async def _write(self, position: int, upto: int) -> None:
        new = replace(self.record, position=position, next=upto)
        if new == self.record:
            return
        if not await self.kept.advance(self.name, self.record, new):
            raise Fenced(
                f"checkpoint {self.name} in {self.kept.address.place}: expected position "
                f"{self.record.position} under fence {self.record.fence}; another attempt has "
                "moved it"
            )
        self.record = new


@dataclass(frozen=True)
class Taken:
    """An active generation under a follower's or a run's token.

    Attributes:
        projection: In the version that built it; None when nobody here has it.
        generation: The generation, as it was when the token was taken.
        fence: The token.
    """

    projection: Projection | None
    generation: Generation
    fence: int


class Storage:
    """Sees to it that a live checkpoint is where it is declared to be.

    Args:
        stores: The worker's stores.
    """

    def __init__(self, stores: CheckpointStores) -> None:
        self._stores = stores

    async def settle(
        self, connection: AsyncConnection, taken: Taken, *, reach: int
    ) -> Apart | None:
        """Brings the checkpoint to where it is declared to be, or home while a run is at work.

        Args:
            connection: Not in a transaction.
            taken: What is followed; its projection is known.
            reach: How many positions a batch may go beyond the checkpoint.

        Returns:
            The record, when a store has the checkpoint now.

        Raises:
            CheckpointLost: Store and database contradict each other.
            CheckpointStoreFailed: The store does not answer, or answers with an error.
            ConfigurationError: This worker does not know the store.
            Fenced: Another attempt has taken it over.
        """
        assert taken.projection is not None
        wanted = self._stores.declared(taken.projection.checkpoints)
        there = taken.generation.away
        if wanted is None and there is None:
            return None
        held = await leases.holder(connection, taken.generation.projection) is not None
        await connection.rollback()
        if there is not None:
            stays = wanted is not None and wanted.place == there["place"] and not held
            if stays:
                return await self._take_over(connection, taken, there, reach)
            await self.bring_home(connection, taken)
        if wanted is None or held:
            return None
        return await self._hand_out(connection, taken, self._stores.opened(wanted), reach)

    async def bring_home(self, connection: AsyncConnection, taken: Taken) -> None:
        """Brings a checkpoint that is away into the database; nothing happens when it is there.

        Args:
            connection: Not in a transaction.
            taken: What is brought home. Without its projection, which could fold keys, it stays
                without a checkpoint if a key is uncertain: it has to be rebuilt.

        Raises:
            CheckpointLost: Store and database contradict each other.
            CheckpointStoreFailed: The store does not answer, or answers with an error.
            ConfigurationError: This worker does not know the store.
            Fenced: Another attempt has taken it over.
        """
        there = taken.generation.away
        if there is None:
            return
        kept = self._stores.at(there["store"], there["place"])
        record = await self._claim(connection, taken, kept, there["name"])
        async with connection.begin():
            known = await self._put_right(connection, taken, record)
            await away.bring_home(connection, taken.generation, taken.fence, known=known)
        await _drop(kept, there["name"])

    async def _take_over(
        self, connection: AsyncConnection, taken: Taken, there: Away, reach: int
    ) -> Apart:
        kept = self._stores.at(there["store"], there["place"])
        record = await self._claim(connection, taken, kept, there["name"])
        async with connection.begin():
            await self._put_right(connection, taken, record)
        apart = Apart(kept, there["name"], record, reach)
        assert taken.generation.position is not None
        await apart.moved(taken.generation.position)
        return apart

    async def _hand_out(
        self, connection: AsyncConnection, taken: Taken, kept: Kept, reach: int
    ) -> Apart | None:
        generation = taken.generation
        assert generation.position is not None
        # Nobody else has such a record, in whatever databases there are projections of this name.
        token = secrets.token_hex(8)
        name = f"{generation.projection}.{generation.generation}.{token}"
        record = Record(generation.position, generation.position + reach, taken.fence)
        await kept.create(name, record)
        there = Away(store=kept.address.store, place=kept.address.place, name=name)
        async with connection.begin():
            handed = await away.hand_out(connection, generation, taken.fence, there)
        if not handed:
            await _drop(kept, name)
            return None
        return Apart(kept, name, record, reach)

    async def _claim(
        self, connection: AsyncConnection, taken: Taken, kept: Kept, name: str
    ) -> Record:
        """Puts this holder's token into the record: from now on nobody else moves it."""
        for _ in range(_CLAIMS):
            record = await kept.read(name)
            wrong = _contradiction(record, taken)
            if wrong is not None or record is None:
                async with connection.begin():  # it may just be that somebody was faster
                    await away.require_held(connection, taken.generation, taken.fence)
                raise CheckpointLost(_lost(taken.generation.projection, kept.address.place, wrong))
            claimed = replace(record, fence=taken.fence)
            if await kept.advance(name, record, claimed):
                return claimed
        raise Fenced(f"checkpoint {name} in {kept.address.place}: others move it all the time")

    async def _put_right(self, connection: AsyncConnection, taken: Taken, record: Record) -> bool:
        """Folds uncertain keys anew; False when there are some, and nobody who could."""
        await away.require_held(connection, taken.generation, taken.fence)
        if record.position == taken.generation.position:
            return True
        if taken.projection is None:
            return False
        keys = await refold_keys(
            connection, taken.projection, taken.generation, after=record.position
        )
        logger.info(
            "checkpoint of %s: %d keys of events after position %d were uncertain, and are "
            "folded anew",
            taken.generation.projection,
            keys,
            record.position,
        )
        return True


def _contradiction(record: Record | None, taken: Taken) -> str | None:
    """What cannot be, of a record and what the database says; None when both can be right."""
    written = taken.generation.position
    if record is None:
        return "there is no record of it, the store has lost it"
    if written is None:
        return "the database has no checkpoint"
    if written > record.next:
        return (
            f"the store is behind: it has position {record.position} and {record.next} as the end "
            f"of the batch in hand, rows were written up to {written}"
        )
    if written < record.position or record.fence >= taken.fence:
        return (
            f"the database is behind: its rows are of position {written}, the store has "
            f"{record.position}"
        )
    return None


def _lost(name: str, place: str, wrong: str | None) -> str:
    return (
        f"the checkpoint of {name!r} is kept in {place}: {wrong}: start a Rebuild, or name a "
        "position up to which all is in the rows, and have the keys of later events folded anew: "
        f"refold backfill {name} --from-position N"
    )


async def _drop(kept: Kept, name: str) -> None:
    try:
        await kept.drop(name)
    except CheckpointStoreFailed as error:
        logger.warning("record %s is left behind, and of no use any more: %s", name, error)
