"""Poison events that are set aside by planning and refolding, and the events a fold passes over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PoisonEvent
from refold.messages.run.plan import Plan
from refold.messages.run.selection import Selection
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.requests.criteria import Criteria
from refold.requests.poison_policy import MOST, Poison
from refold.runtime.database import raw
from refold.source.keyed import side_keys
from refold.source.misfits import (
    find_misfits,
    fitting_within,
    is_misfit,
    letters_at,
    still_misfits,
)
from refold.source.port.elsewhere import key_collation
from refold.source.reader import at, not_at
from refold.source.slices import Bounds, slice_totals
from refold.store import dead_letters, generations, selected_keys
from refold.store.side_keys.tables import SideTable


def most_letters(poison: Poison) -> int:
    """Up to how many dead letters (inclusive) a generation may have."""
    return MOST if poison.max_dead_letters is None else poison.max_dead_letters


async def passed_over(
    connection: AsyncConnection,
    projection: Projection,
    generation: int | None,
    *,
    side: SideTable | None = None,
) -> list[int]:
    """The positions that a fold of a generation passes over.

    These are the events that people have skipped, and the events whose key still does not fit.

    Args:
        connection: Any connection.
        projection: In the version that folds.
        generation: The generation; None for one that is going to be made.
        side: Where the keys of a function are: what has one there fits by now.
    """
    skipped = await dead_letters.skipped(connection, projection.name)
    if generation is None:
        return skipped
    without_key = await dead_letters.keyless(connection, projection.name, generation)
    misfits = await still_misfits(connection, projection, without_key)
    if side is not None and misfits:
        fit = await side_keys.fitting_within(connection, side, misfits, None, None, among=None)
        misfits = [position for position in misfits if position not in fit]
    return sorted({*skipped, *misfits})


# -- planning --------------------------------------------------------------------------------


async def selectable(
    connection: AsyncConnection,
    projection: Projection,
    selection: Selection,
    poison: Poison,
    side: SideTable | None = None,
) -> list[ColumnElement[bool]]:
    """The condition for events that may name a key; in a retry only dead letters may.

    Where poison events are set aside, an event whose key does not fit names no key. Where they are
    not, only the events that were set aside before are left out.

    Args:
        connection: Any connection.
        projection: The projection.
        selection: Which events are selected.
        poison: What is done with events whose key does not fit.
        side: Where the keys of a function are; what has none there does not fit.
    """
    active = await generations.active(connection, projection.name)
    number = None if active is None else active.generation
    conditions = []
    retried = selection.criteria is Criteria.DEAD_LETTERS
    if retried:
        letters = []
        if number is not None:
            letters = await dead_letters.positions(connection, projection.name, number)
        conditions.append(at(letters))
    if side is not None:
        conditions.append(side_keys.is_keyed(side))
        if not (poison.sets_aside or retried):
            conditions += not_at(await dead_letters.skipped(connection, projection.name))
    elif poison.sets_aside or retried:
        conditions.append(~is_misfit(projection))
    else:
        conditions += not_at(await passed_over(connection, projection, number))
    return conditions


async def totals_and_misfits(
    connection: AsyncConnection,
    projection: Projection,
    bounds: Bounds,
    *,
    upto: int,
    among: Select[Any] | Sequence[Key] | None,
    poison: Poison,
    generation: int | None,
    side: SideTable | None = None,
) -> tuple[list[int], list[Letter]]:
    """How many events each range of keys has, and the events whose key does not fit.

    Args:
        connection: In a transaction.
        projection: The projection.
        bounds: The ranges.
        upto: Only positions up to this (inclusive).
        among: Only of these keys, or of those that a statement finds; None for all.
        poison: What is done with events whose key does not fit.
        generation: The generation that is written, or copied; None for one that begins empty.
        side: Where the keys of a function are; events whose key does not fit are noted there.

    Raises:
        PoisonEvent: An event's key does not fit, and the event is not set aside, or it is one more
            than may be.
    """
    if side is not None:
        assert among is None or isinstance(among, Select), "its events are here"
        return await _written(
            *(connection, projection, side, bounds), upto=upto, among=among, poison=poison
        )
    known = await passed_over(connection, projection, generation)
    try:
        totals = await slice_totals(
            connection, projection, bounds, upto=upto, among=among, passed_over=known
        )
        return totals, []
    except PoisonEvent:
        if not poison.sets_aside:
            raise
    most = most_letters(poison)
    misfits = await find_misfits(
        connection, projection, upto=upto, passed_over=known, among=among, limit=most + 1
    )
    if len(misfits) > most:
        raise misfits[most].refused(projection.name, most, most)
    known += [letter.position for letter in misfits]
    totals = await slice_totals(
        connection, projection, bounds, upto=upto, among=among, passed_over=known
    )
    return totals, misfits


async def _written(
    connection: AsyncConnection,
    projection: Projection,
    side: SideTable,
    bounds: Bounds,
    *,
    upto: int,
    among: Select[Any] | None,
    poison: Poison,
) -> tuple[list[int], list[Letter]]:
    known = await dead_letters.skipped(connection, projection.name)
    most = most_letters(poison)
    letters: list[Letter] = []
    if among is None:  # one that has no key is none of a key that is selected
        found = await side_keys.misfits(connection, side, upto=upto, limit=most + 1)
        letters = await letters_at(connection, projection, found)
    if len(letters) > most:
        raise letters[most].refused(projection.name, most, most)
    totals = await side_keys.totals(
        connection, side, bounds, upto=upto, among=among, passed_over=known
    )
    return totals, letters


async def record_misfits(connection: AsyncConnection, plan: Plan, misfits: list[Letter]) -> None:
    """Adds the letters that planning found, in the transaction that writes the plan.

    Raises:
        PoisonEvent: There are more letters than the generation may have.
    """
    await dead_letters.add(
        await raw(connection),
        plan.projection,
        plan.generation,
        misfits,
        most=most_letters(plan.poison),
        run_id=plan.run_id,
    )


# -- refolding in place ----------------------------------------------------------------------


async def release(
    connection: AsyncConnection,
    projection: Projection,
    plan: Plan,
    low: Key | None,
    high: Key | None,
    *,
    among: Sequence[Key] | None = None,
    side: SideTable | None = None,
) -> int:
    """Removes the letters of the keys with low < key <= high, as their rows are being replaced.

    After that, a key is held only if its refold meets a poison event again. A letter without a key
    is removed when its event has a key by now, and that key is among these.

    Args:
        connection: In the transaction that puts the rows of these keys in place.
        projection: The projection.
        plan: The run's plan; if it selects keys, only these are released.
        low: Only keys above this (exclusive); None for no bound.
        high: Only keys up to this (inclusive); None for no bound.
        among: The keys that are selected, where events are in another database.
        side: Where the keys of a function are; None if it has none.

    Returns:
        How many letters were removed.
    """
    name, generation = plan.projection, plan.generation
    if not await dead_letters.count(connection, name, generation):
        return 0
    selected_by = None if plan.selection is None else plan.run_id
    released = await dead_letters.release(
        *(connection, projection, generation, low, high),
        selected_by=selected_by,
        collation=key_collation(),
        side=side,
    )
    without_key = await dead_letters.keyless(connection, name, generation)
    if not without_key:
        return released
    if side is None:
        fit = await fitting_within(
            *(connection, projection, without_key, low, high),
            selected_by=selected_by if among is None else None,
            among=among,
        )
    else:
        mine = None if selected_by is None else selected_keys.of_run(side.parts, selected_by)
        fit = await side_keys.fitting_within(connection, side, without_key, low, high, among=mine)
    return released + await dead_letters.remove(connection, name, generation, fit)
