"""What operators, readers and appenders do, each as a step that misses a right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from refold import NewEvent, Patience, ProjectionManager, ProjectionStopped, append
from refold.source.checking.check import check_events
from refold.source.port.current import using
from refold.store import leases
from tests.support.counters import counters
from tests.support.events import some
from tests.support.pooled import DDL, pooled
from tests.support.rights.of_workers import (
    built,
    kept_counters,
    sees_since_when,
    set_aside,
    snapshots_there,
    two_rebuilds,
)
from tests.support.rights.stage import Stage, refused
from tests.support.rights.step import Step, nothing
from tests.support.roles import as_superuser
from tests.support.runs import run, write


def _command(*arguments: str, kind: str = "operator") -> Callable[[Stage], Awaitable[str]]:
    async def typed(stage: Stage) -> str:
        return await stage.command(*arguments, kind=kind)

    return typed


async def _publishes(stage: Stage) -> str:
    async with stage.as_("operator") as found:
        manager = ProjectionManager(stage.client, found.url)

        async def publish() -> None:
            for _ in range(2):
                await manager.publish(ProjectionStopped(projection="counters"))

        return await refused(found, publish)


async def _gaps(stage: Stage) -> None:
    await as_superuser(
        stage.database,
        DDL,
        f"GRANT SELECT ON pooled TO {stage.roles.operator}",
        "INSERT INTO pooled SELECT n, 's', n, 'Added', '{}', now() FROM unnest('{1,5,9}'::int[]) n",
    )


async def _checks_gaps(stage: Stage) -> str:
    async with stage.as_("operator") as found:

        async def check() -> None:
            with using(pooled(Patience(0.1))):
                looking = found.engine.execution_options(isolation_level="AUTOCOMMIT")
                async with looking.connect() as connection:
                    report = await check_events(connection)
            assert report.refused == []

        return await refused(found, check)


async def _a_lease_that_is_silent(stage: Stage) -> None:
    async with stage.database.engine.begin() as connection:
        await leases.acquire(
            connection,
            "counters",
            run_id="a-run",
            workflow_id="rebuild/counters",
            namespace="gone",
            installation="gone",
        )
    await as_superuser(
        stage.database, "UPDATE refold.leases SET renewed_at = now() - interval '1 hour'"
    )


async def _a_copy(stage: Stage) -> None:
    await two_rebuilds(stage)
    async with stage.working(counters()) as found:
        await run(stage.client, found, "Snapshot", "counters")


async def _reads_a_snapshot(stage: Stage) -> str:
    async with stage.as_("operator") as found:
        manager = ProjectionManager(stage.client, found.url)

        async def read() -> None:
            newest, *_ = await manager.get_snapshots("counters")
            await manager.read_snapshot(kept_counters(), newest.position)

        return await refused(found, read)


async def _reads_a_copy(stage: Stage) -> str:
    async with stage.as_("operator") as found:
        manager = ProjectionManager(stage.client, found.url)

        async def read() -> None:
            newest, *_ = await manager.get_snapshots("counters")
            assert newest.kept_as == "copy"
            await manager.read_snapshot(counters(), newest.position)

        return await refused(found, read)


async def _reads(stage: Stage) -> str:
    async with stage.as_("reader") as found:

        async def read() -> None:
            # Without the schema's name, PostgreSQL would say that there is no such table.
            async with found.engine.connect() as connection:
                read = await connection.exec_driver_sql("SELECT count(*) FROM public.counters")
                assert int(read.scalar() or 0) > 0

        return await refused(found, read)


async def _rebuilt_and_read(stage: Stage) -> str:
    """What is granted by default counts for tables that are made later."""
    await write(stage.database.engine, some(5))
    async with stage.working(counters()) as found:
        await run(stage.client, found, "Rebuild", "counters")
    return await _reads(stage) or await _shows_rows(stage)


async def _shows_rows(stage: Stage) -> str:
    return await stage.command("rows", "counters")


async def _appends(stage: Stage) -> str:
    async with stage.as_("appender") as found:

        async def write_one() -> None:
            async with found.engine.begin() as connection:
                await append(connection, "s", [NewEvent("Added", {"key": "k", "n": 1})])

        return await refused(found, write_one)


async def _imports(stage: Stage) -> str:
    path = stage.directory / "events.ndjson"
    path.write_text('{"stream_id": "s", "type": "Added", "data": {"key": "k", "n": 1}}\n')
    return await stage.command("events", "import", str(path), kind="appender")


async def _sees_since_when(stage: Stage) -> str:
    """Not refused: PostgreSQL shows less."""
    return await sees_since_when(stage, "operator")


STATUS_OF_ALL = Step("status of all", _command("status"), two_rebuilds)
STATUS = Step("status", _command("status", "counters"), two_rebuilds)
EVENT = Step("events show", _command("events", "show", "1"), two_rebuilds)
CHECKED = Step("events check, of a source with gaps", _checks_gaps, _gaps)
EXPLAIN = Step("explain", _command("explain", "counters", "k001"), two_rebuilds)
ROWS = Step("rows", _shows_rows, two_rebuilds)
LETTERS = Step("dead-letters list", _command("dead-letters", "list", "counters"), set_aside)
LOG = Step("log", _command("log", "counters"), two_rebuilds)
SNAPSHOTS = Step("snapshots list", _command("snapshots", "list", "counters"), snapshots_there)
DROPS = Step(
    "snapshots drop",
    _command("snapshots", "drop", "counters", "--position", "250"),
    snapshots_there,
)
DROPS_A_COPY = Step(
    "snapshots drop, of a copy",
    _command("snapshots", "drop", "counters", "--generation", "3"),
    _a_copy,
)
READS_A_SNAPSHOT = Step("read_snapshot", _reads_a_snapshot, snapshots_there)
READS_A_COPY = Step("read_snapshot, of a copy", _reads_a_copy, _a_copy)
PUBLISHES = Step("publish", _publishes, two_rebuilds)
RELEASES = Step(
    "release", _command("release", "counters", "--run", "a-run"), _a_lease_that_is_silent
)
READS = Step("a reader reads", _reads, built)
READS_LATER = Step("what is made later is read", _rebuilt_and_read, nothing)
APPENDS = Step("an application appends", _appends)
IMPORTS = Step("a file is imported", _imports)
SEES_TOO = Step("since when somebody writes, for operators", _sees_since_when)
