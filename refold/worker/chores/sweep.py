"""Sweep: leases of living runs are renewed, dead runs ended, what they left is dropped."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.lifecycle.cleanup import drop, give_up
from refold.engine.lifecycle.lease_standing import Executions, LeaseStanding
from refold.store import generations, leases
from refold.store.generations import BUILDING, Generation
from refold.store.leases import RENEWED_SECONDS, Lease
from refold.store.side_keys import tables as side_tables
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_in


class Sweep:
    """Ends the runs that Temporal has ended without them, and shows that all others live.

    A lease is renewed as long as Temporal says that its workflow runs, whatever the run waits for:
    so another installation on the same database sees that somebody cares for it. What another
    installation's runs hold is theirs to end; those that are silent are named. Only what a run was
    building is dropped: never a live table, nor one that is retained.

    Args:
        engine: The database.
        executions: Whether the runs are alive.
    """

    name = "sweep"
    seconds = RENEWED_SECONDS

    def __init__(self, engine: AsyncEngine, executions: Executions) -> None:
        self._engine = engine
        self._executions = executions

    async def run_once(self) -> Looked:
        """Looks at each lease, then at each table that a run has left; see `Chore`."""
        looked = Looked()
        async with self._engine.connect() as connection:
            # In this order: who makes one has its lease before.
            written = await side_tables.all_names(connection)
            held = await leases.all_leases(connection)
        kept = {name for lease in held for name in side_tables.names_of(lease.run_id)}
        alive = [lease.run_id for lease in held if await self._lives(lease, looked)]
        if alive:
            async with self._engine.begin() as connection:
                await leases.renew_some(connection, alive)
        for name in written:
            if name not in kept:
                await self._drop_keys(name, looked)
        async with self._engine.connect() as connection:
            left = await generations.left_building(connection)
        for generation in left:
            try:
                await self._drop(generation)
            except Exception as error:
                why = await reason_in(self._engine, error)
                looked.cannot(generation.projection, f"generation {generation.generation}", why)
            else:
                looked.done.append(f"{generation.schema_name}.{generation.table_name}")
        return looked

    async def _lives(self, lease: Lease, looked: Looked) -> bool:
        item = f"run {lease.run_id}"
        try:
            standing = await self._executions.standing(lease)
            if standing is LeaseStanding.ENDED:
                await give_up(self._engine, lease)
                looked.done.append(lease.run_id)
        except Exception as error:
            looked.cannot(lease.projection, item, await reason_in(self._engine, error))
            return False
        if standing is LeaseStanding.ELSEWHERE and lease.silent:
            looked.cannot(lease.projection, item, str(leases.busy(lease, elsewhere=True)))
        return standing is LeaseStanding.ALIVE

    async def _drop_keys(self, name: str, looked: Looked) -> None:
        try:
            async with self._engine.begin() as connection:
                await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
                await side_tables.drop(connection, (name,))
        except Exception as error:
            looked.cannot("", f"table refold.{name}", await reason_in(self._engine, error))
        else:
            looked.done.append(f"refold.{name}")

    async def _drop(self, generation: Generation) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            known = await generations.get(
                connection, generation.projection, generation.generation, lock=True
            )
            if known is not None and known.status == BUILDING:
                await drop(connection, known)
