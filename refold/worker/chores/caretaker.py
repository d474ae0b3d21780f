"""Runs chores, each for itself, and says what they cannot do: once, until it changes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.store import left_behind
from refold.worker.chores.chore import Chore, Looked
from refold.worker.chores.reasons import reason_in

logger = logging.getLogger("refold.worker")

_DIGITS = re.compile(r"\d+")


class Caretaker:
    """Runs a worker's chores.

    Args:
        engine: The database, where troubles are recorded for `refold status`.
        chores: What is to be seen to.
    """

    def __init__(self, engine: AsyncEngine, chores: Iterable[Chore]) -> None:
        self._engine = engine
        self._chores = list(chores)
        self._said: dict[str, dict[tuple[str, str], str]] = {}

    async def work(self) -> None:
        """Sees to all chores, each at its interval, until it is cancelled."""
        await asyncio.gather(*(self._again_and_again(chore) for chore in self._chores))

    async def _again_and_again(self, chore: Chore) -> None:
        while True:
            try:
                await self.see_to(chore)
            except asyncio.CancelledError:
                # What a chore calls may be cancelled, and the chore itself is not. It must not
                # take the others with it: a worker would go on without chores, and say nothing.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                logger.warning("%s: cancelled from within, and begun anew", chore.name)
            await asyncio.sleep(chore.seconds)

    async def see_to(self, chore: Chore) -> Looked | None:
        """One look of one chore; None when it could not look. Nothing is raised."""
        looked: Looked | None = None
        try:
            looked = await chore.run_once()
            await self._record(chore, looked)
        except Exception as error:
            whole = {("", ""): await reason_in(self._engine, error)}
            self._say(chore.name, whole | self._of(looked))
            logger.debug("%s", chore.name, exc_info=error)
        else:
            self._say(chore.name, self._of(looked))
        return looked

    async def _record(self, chore: Chore, looked: Looked) -> None:
        if looked.projections == [] and not looked.troubles:
            return  # it is not about projections: there is nothing of it to change
        async with self._engine.begin() as connection:
            await left_behind.settle(connection, chore.name, looked.projections, looked.troubles)

    @staticmethod
    def _of(looked: Looked | None) -> dict[tuple[str, str], str]:
        troubles = looked.troubles if looked else []
        return {(one.projection, one.item): one.reason for one in troubles}

    def _say(self, chore: str, found: dict[tuple[str, str], str]) -> None:
        said = self._said.get(chore, {})
        for item, reason in found.items():
            # Process ids, ports and times change while the reason stays the same.
            if item not in said or _DIGITS.sub("#", said[item]) != _DIGITS.sub("#", reason):
                logger.warning("%s: %s", _named(chore, item), reason)
        # What a look that failed could not see is not known to be over.
        gone = [] if ("", "") in found else [item for item in said if item not in found]
        for item in gone:
            logger.info("%s: not in the way any more", _named(chore, item))
        kept = said if ("", "") in found else {}
        self._said[chore] = kept | found


def _named(chore: str, item: tuple[str, str]) -> str:
    return " ".join([f"{chore}:", *item]).strip(" :")
