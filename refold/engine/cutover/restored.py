"""Whether what was restored from a snapshot is what its events say, by some of its keys."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.cutover.verification import check_keys, sampled_keys
from refold.errors import VerificationFailed
from refold.projection.declaration import Projection
from refold.store import dead_letters
from refold.store.generations import Generation


async def require_restored(
    connection: AsyncConnection, projection: Projection, copy: Generation, *, upto: int, rows: int
) -> None:
    """Folds some keys of a restored generation again: most of its rows are the live table's.

    What somebody has changed there by hand, on many rows, is found so.

    Args:
        connection: In a transaction that sees the generation's rows.
        projection: In the version that has taken the snapshot.
        copy: The generation, with its keys and indexes.
        upto: The snapshot's position.
        rows: How many rows it has.

    Raises:
        VerificationFailed: A key has another row.
        PoisonEvent: An event that a handler or the key cannot take.
    """
    keys = await sampled_keys(connection, projection, copy, upto=upto, rows=rows)
    held = await dead_letters.held_keys(connection, projection.name, copy.generation)
    checked = await check_keys(connection, projection, copy, keys, upto=upto, held=held)
    wrong = checked.wrong.total()
    if wrong:
        raise VerificationFailed(
            f"projection {projection.name!r}: expected the rows of the snapshot of position {upto} "
            f"to be the fold of their events, but {wrong} of {checked.folded} keys folded again "
            "differ: somebody has changed its table by hand, or the handlers were changed without "
            "another version: restore a copy (`refold snapshots list`), or start a Rebuild"
        )
