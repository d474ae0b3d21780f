"""The keys that a run repairs, if not all, as what reads their events needs them.

They are beside the read models. Where events are there too, one statement joins the two. Where
events are in another database, keys go there as arrays, so many at a time: that takes no rights
but SELECT, works on a standby and behind a pooler, and needs memory for some keys only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.source.port.elsewhere import ORDER, is_elsewhere
from refold.store import selected_keys
from refold.store.partitions import Partition
from refold.store.side_keys.tables import SideTable


class RepairedKeys:
    """The keys that a run repairs.

    Args:
        connection: Sees the keys that were selected.
        projection: The projection.
        run_id: The run.
        side: Where the keys of a function are; None if it has none.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        projection: Projection,
        run_id: str,
        side: SideTable | None = None,
    ) -> None:
        paths = projection.key_paths if side is None else side.parts
        assert paths is not None
        self._connection = connection
        self._paths = paths
        self._run_id = run_id

    async def all(self) -> AsyncIterator[Select[Any] | list[Key]]:
        """All keys: a statement for them, or lists of those that come next."""
        if not is_elsewhere():
            yield selected_keys.of_run(self._paths, self._run_id)
            return
        low: Key | None = None
        while keys := await self._after(low, None):
            yield keys
            low = keys[-1]

    async def next_of(self, partition: Partition) -> tuple[Select[Any] | list[Key], Key | None]:
        """The keys that a partition has to go on with.

        Returns:
            A statement or a list, as `Target.among` has it; and the last key of the list if more
            come after it.
        """
        if not is_elsewhere():
            return selected_keys.of_run(self._paths, self._run_id), None
        done = partition.low if partition.done_key is None else partition.done_key
        keys = await self._after(done, partition.high)
        more = bool(keys) and bool(await self._after(keys[-1], partition.high, most=1))
        return keys, keys[-1] if more else None

    async def _after(
        self, low: Key | None, high: Key | None, *, most: int | None = None
    ) -> list[Key]:
        return await selected_keys.lowest(
            *(self._connection, self._paths, self._run_id),
            low=low,
            high=high,
            collation=ORDER,
            most=most or selected_keys.AT_ONCE,
        )
