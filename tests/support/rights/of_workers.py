"""What workers do, each as a step that misses a right."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from refold import ProjectionStopped, Snapshots, SystemEventContext
from refold.engine.live.automatic_snapshots import compact_changes
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.database import raw
from refold.source.port.current import using
from refold.source.settled import gaps
from refold.source.settled.patience import Patience
from refold.store import deliveries, left_behind
from refold.store.gaps import late_events
from refold.store.left_behind import Trouble
from refold.worker.chores.dispatch import Dispatch
from refold.worker.chores.history import History
from refold.worker.chores.presence import Presence
from refold.worker.readiness import wait_until_ready
from tests.support.counters import counters, registry_of
from tests.support.events import some
from tests.support.keyed import keyed
from tests.support.letters import BAD, aside
from tests.support.mirrored import numbered
from tests.support.mirroring import MIRRORS, fresh, mirror
from tests.support.pooled import DDL, pooled
from tests.support.rights.stage import Stage, refused
from tests.support.rights.step import Step
from tests.support.roles import as_superuser
from tests.support.runs import queue, run, until, working, write


async def _starts(stage: Stage) -> str:
    async with stage.as_("worker") as found:
        return await refused(found, lambda: wait_until_ready(found.engine))


async def _events(stage: Stage) -> None:
    await write(stage.database.engine, some(10))


async def _rebuilds(stage: Stage) -> str:
    async with stage.working(counters()):
        return await stage.run("Rebuild", "counters")


async def built(stage: Stage) -> None:
    """A read model."""
    await _events(stage)
    async with stage.working(counters()) as found:
        await run(stage.client, found, "Backfill", "counters")


async def two_rebuilds(stage: Stage) -> None:
    """A read model that has replaced another generation."""
    await built(stage)
    async with stage.working(counters()) as found:
        await run(stage.client, found, "Rebuild", "counters")


async def _repairs(stage: Stage) -> str:
    async with stage.working(counters()):
        return await stage.run("Backfill", "counters", from_position=5)


async def _bad_events(stage: Stage) -> None:
    await write(stage.database.engine, [*some(30), BAD])


async def _sets_aside(stage: Stage) -> str:
    async with stage.working(aside()):
        return await stage.run("Rebuild", "counters")


async def set_aside(stage: Stage) -> None:
    """A read model with a dead letter."""
    await _bad_events(stage)
    async with stage.working(aside()) as found:
        await run(stage.client, found, "Rebuild", "counters")


async def _skips(stage: Stage) -> str:
    async with stage.working(aside()):
        return await stage.run("Backfill", "counters", criteria="dead_letters", skip_events=[151])


def _create(row: dict[str, Any]) -> dict[str, Any]:
    return {"count": row["count"]}


def kept_counters() -> Projection:
    """A read model that makes snapshots by itself."""
    policy = Snapshots.automatic(every_n_events=50, keep_last=2, create=_create)
    return counters(batch_size=20).with_snapshots(policy)


async def snapshots_there(stage: Stage) -> None:
    """A read model with snapshots, and changes that are kept for them."""
    await write(stage.database.engine, some())
    async with stage.working(kept_counters()) as found:
        await run(stage.client, found, "Rebuild", "counters")
        await write(stage.database.engine, some(each=2, start_at=300))
        await run(stage.client, found, "Backfill", "counters", criteria="incremental_update")


async def _keeps_snapshots(stage: Stage) -> str:
    await write(stage.database.engine, [*some(each=4, start_at=600), ("s1", "Removed", _K001)])
    async with stage.working(kept_counters()):
        return await stage.run("Backfill", "counters", criteria="incremental_update")


_K001 = {"key": "k001"}


async def _compacts(stage: Stage) -> str:
    async with stage.as_("worker") as found:
        registry = registry_of(kept_counters())
        return await refused(
            found, lambda: compact_changes(found.engine, registry, "counters", at_least=1)
        )


async def _shows_itself(stage: Stage) -> str:
    async with stage.as_("worker") as found:
        presence = Presence(found.engine, registry_of(counters()), queue(stage.database))
        return await stage.chore(found, presence) or await refused(found, presence.leave)


def _handled() -> Registry:
    projection = counters()

    @projection.on_system_event(ProjectionStopped)
    def seen(event: ProjectionStopped, context: SystemEventContext) -> None:
        return None

    return registry_of(projection)


async def _hands_out(stage: Stage) -> str:
    async with stage.as_("worker") as found:
        dispatch = Dispatch(found.engine, stage.client, _handled(), queue(stage.database))
        said = await stage.chore(found, dispatch)

        async def delivered() -> None:
            async with found.engine.begin() as connection:
                await deliveries.advance(connection, "counters", "any", 1)

        return said or await refused(found, delivered)


async def _old(stage: Stage) -> None:
    await as_superuser(
        stage.database,
        """
        INSERT INTO refold.generations (projection, generation, version, status, schema_name,
            table_name, run_id, created_at, discarded_at)
        SELECT 'counters', n, 1, 'discarded', 'gone', 'counters', 'run-' || n, at, at
        FROM generate_series(1, 50) n, LATERAL (SELECT now() - interval '400 days' AS at) t;
        INSERT INTO refold.runs (run_id, projection, kind, workflow_id, status, request, plan,
            started_at, ended_at)
        SELECT 'run-' || n, 'counters', 'Rebuild', 'rebuild/counters', 'failed', '{}',
            '{"version": 1}', at, at
        FROM generate_series(1, 50) n, LATERAL (SELECT now() - interval '400 days' AS at) t;
        """,
    )


async def _forgets(stage: Stage) -> str:
    async with stage.as_("worker") as found:
        return await stage.chore(found, History(found.engine, found.settings))


async def _leaves_behind(stage: Stage) -> str:
    async with stage.as_("worker") as found:

        async def settle() -> None:
            for reason in ("locked", "locked by 2", None):
                troubles = [Trouble("counters", "generation 1", reason)] if reason else []
                async with found.engine.begin() as connection:
                    await left_behind.settle(connection, "sweep", ["counters"], troubles)

        return await refused(found, settle)


async def _gaps(stage: Stage) -> None:
    await as_superuser(
        stage.database,
        DDL,
        f"GRANT SELECT ON pooled TO {stage.roles.worker}",
        "INSERT INTO pooled SELECT n, 's', n, 'Added', '{}', now() FROM unnest('{1,5,9}'::int[]) n",
    )


async def _passes_gaps(stage: Stage) -> str:
    patience = Patience(0.1, again_seconds=3600)
    async with stage.as_("worker") as found:

        async def look() -> None:
            with using(pooled(patience)) as source:
                looking = found.engine.execution_options(isolation_level="AUTOCOMMIT")
                async with looking.connect() as connection:
                    await gaps.pass_over(connection, source, patience, 5)
                    await gaps.pass_over(connection, source, patience, 9)
                    late = "INSERT INTO pooled VALUES (7, 's', 7, 'Added', '{}', now())"
                    await as_superuser(stage.database, late)
                    assert await gaps.look_again(connection, source, patience) == 1
                async with found.engine.begin() as connection:
                    await late_events.forget(connection, timedelta(0))

        return await refused(found, look)


async def _copies(stage: Stage) -> str:
    with fresh() as source:
        source.events = [numbered(number) for number in range(5)]
        async with (
            stage.as_("worker") as found,
            working(stage.client, found, registry_of(counters()), mirrors=MIRRORS),
            mirror(stage.client, found) as handle,
        ):
            said = ""

            async def known() -> bool:
                nonlocal said
                if (await handle.describe()).close_time is not None:
                    said = await refused(found, handle.result)
                    return True
                answer = await handle.query("progress")
                failing = answer.get("failing") or answer.get("error") or {}
                said = str(failing.get("message", ""))
                return said != "" or answer["status"] == "live"

            await until(known, 40)
            return said


async def sees_since_when(stage: Stage, kind: str) -> str:
    """Whether it is seen since when an application writes: without the right, it is hidden."""
    async with (
        stage.as_("appender") as writes,
        stage.as_(kind) as found,
        writes.engine.connect() as writer,
        found.engine.connect() as connection,
    ):
        await writer.exec_driver_sql("SELECT 1")
        seen = await (await raw(connection)).fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state IS NOT NULL",
            stage.roles.appender,
        )
    return "" if seen else "pg_read_all_stats"


async def _sees_since_when(stage: Stage) -> str:
    return await sees_since_when(stage, "worker")


async def _computes_keys(stage: Stage) -> str:
    """Not refused: it takes the longer way, and the plan's note says why."""
    async with stage.working(keyed()) as found:
        planned = await run(stage.client, found, "Rebuild", "keyed", dry_run=True)
    assert planned.plan is not None
    note = str(planned.plan.note)
    return note if "GRANT" in note else ""


STARTS = Step("a worker starts", _starts)
REBUILDS = Step("a rebuild", _rebuilds, built)
BUILDS = Step("a first build", _rebuilds, _events)
REPAIRS = Step("a repair", _repairs, built)
SETS_ASIDE = Step("a poison event is set aside", _sets_aside, _bad_events)
SKIPS = Step("a dead letter is skipped", _skips, set_aside)
KEEPS = Step("a snapshot is kept", _keeps_snapshots, snapshots_there)
COMPACTS = Step("changes are made fewer", _compacts, snapshots_there)
SHOWS = Step("a worker shows itself", _shows_itself)
HANDS_OUT = Step("handlers are given system events", _hands_out)
FORGETS = Step("what is old is forgotten", _forgets, _old)
LEAVES = Step("something is left behind", _leaves_behind)
PASSES = Step("gaps are passed, and looked at again", _passes_gaps, _gaps)
COPIES = Step("a mirror copies", _copies, mirrors=True)
COMPUTES = Step("keys are computed", _computes_keys, _events)
SEES = Step("since when somebody writes", _sees_since_when)
