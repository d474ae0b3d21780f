"""What a backfill would change, found by folding some of its keys in memory; nothing is written."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.cutover.verification import check_keys, sampled_keys
from refold.errors import PoisonEvent
from refold.messages.run.plan import Plan
from refold.messages.run.preview import DiffSample, Foretold
from refold.projection.dead_letters import HeldKeys
from refold.projection.declaration import Projection
from refold.requests.criteria import Criteria
from refold.store import dead_letters, generations, selected_keys
from refold.store.generations import Generation
from refold.store.tables.comparable import Place
from refold.store.tables.read_models import count_rows

# So many keys are folded at most; fewer if they have many events.
_KEYS = 200


async def foretell(
    connection: AsyncConnection, projection: Projection, plan: Plan, active: Generation | None
) -> Foretold | None:
    """Compares what keys fold to with what stands in the live table, at its checkpoint.

    Args:
        connection: In the transaction that has selected the keys; the follower of the live table
            waits until it ends.
        projection: In the version that folds.
        plan: What would be done.
        active: What readers query now.

    Returns:
        None when there is nothing to compare: no live table, one of another version, or a run that
        refolds no keys.
    """
    if active is None or active.position is None or active.version != projection.version:
        return None
    if not plan.partitions:
        return None
    place = Place(active.schema_name, active.table_name)
    held = await generations.hold_position(connection, projection.name, active.generation)
    everything = False
    if plan.selection is not None:
        assert projection.key_paths is not None
        keys = await selected_keys.sample(connection, projection.key_paths, plan.run_id, most=_KEYS)
        everything = plan.selected_keys == len(keys)
    else:
        rows = await count_rows(connection, *place)
        keys = await sampled_keys(connection, projection, active, upto=held, rows=rows)
    aside = await _set_aside(connection, plan)
    held_up = sum(1 for key in keys if key in aside)
    try:
        checked = await check_keys(connection, projection, active, keys, upto=held, held=aside)
    except PoisonEvent as error:
        return Foretold(keys=0, all_keys=False, added=0, removed=0, changed=0, note=str(error))
    samples = [
        DiffSample(kind=kind, key=row.key, live=row.found, shadow=row.expected)
        for kind, row in checked.shown
    ]
    return Foretold(
        keys=checked.folded,
        all_keys=everything and checked.folded == len(keys),
        added=checked.wrong["added"],
        removed=checked.wrong["removed"],
        changed=checked.wrong["changed"],
        samples=samples,
        note=" ".join(filter(None, [checked.note, _held_in_words(plan, held_up)])) or None,
    )


async def _set_aside(connection: AsyncConnection, plan: Plan) -> HeldKeys:
    """The keys that are left out: those that are held, unless they are what is retried."""
    if plan.selection is not None and plan.selection.criteria is Criteria.DEAD_LETTERS:
        return HeldKeys()
    return await dead_letters.held_keys(connection, plan.projection, plan.generation)


def _held_in_words(plan: Plan, count: int) -> str | None:
    if not count:
        return None
    keys = "1 key is" if count == 1 else f"{count:,} keys are"
    end = "they stay set aside" if plan.poison.sets_aside else "a run fails at them"
    return f"{keys} held for dead letters and not folded here: if their events still fail, {end}."
