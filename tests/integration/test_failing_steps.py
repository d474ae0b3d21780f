"""Whatever refuses, in whatever step: the run ends, or says within seconds why it waits."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from typer.testing import CliRunner, Result

from refold.cli.main import app
from refold.cli.runs.follow import figures
from refold.manager.health import Standing, judged
from refold.manager.projections import ProjectionManager
from refold.messages.live import LiveHealth
from refold.messages.run.life import Progress
from refold.messages.step_failures import StepFailure
from refold.runtime.judgement import Judgement, judge_state
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.failing import refusing
from tests.support.histories import kept
from tests.support.letters import failed
from tests.support.live import live, until_position, until_status
from tests.support.runs import assert_oracle, leftovers, queue, run, start, until, working, write
from tests.support.soaking import soak
from tests.unit.test_judgement import STATES

SECRET = "s3cr3t-value"

# What is said by the step that fails, by the phase in which it is refused.
PHASES = {
    "planning": "planning",
    "refolding": "refolding partition 1",
    "indexing": "indexing",
    "following": "following",
    "verifying": "verifying",
    "preparing": "preparing the swap",
    "swapping": "swapping",
    "cleaning up": "cleaning up",
}


def _added(keys: int, each: int) -> list[tuple[str, str, dict[str, Any]]]:
    return [(f"s{k}", "Added", {"key": f"k{k}", "n": n}) for n in range(each) for k in range(keys)]


def _is_refused(phase: str, state: str) -> bool:
    """Whether what is attached to the table cannot be given to the new one, as it seems."""
    return phase in ("preparing", "swapping") and state.startswith("42")


def _looks_changed(phase: str, state: str) -> bool:
    """Whether it seems that something was made or dropped meanwhile: it is looked at again."""
    return phase == "swapping" and state in ("42P01", "42P07", "42704", "42710")


async def _progress(handle: WorkflowHandle[Any, Any]) -> Progress:
    answer: Progress = await handle.query("progress", result_type=Progress)
    return answer


async def _ended(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).status != WorkflowExecutionStatus.RUNNING


async def _ends_or_says(handle: WorkflowHandle[Any, Any], seconds: float) -> StepFailure | None:
    """What it says of the step that fails; None when it has ended."""
    said: StepFailure | None = None

    async def known() -> bool:
        nonlocal said
        if await _ended(handle):
            return True
        progress = await _progress(handle)
        said = progress.failing
        # A swap whose lock is not to be had waits: nothing of it fails.
        return said is not None or bool(progress.waiting_for)

    await until(known, seconds)
    return said


async def _last_failure(handle: WorkflowHandle[Any, Any]) -> str:
    pending = (await handle.describe()).raw_description.pending_activities
    return " ".join(one.last_failure.message for one in pending)


# The others are in the soak, with every other state.
_SOME = [
    ("planning", "40001"),
    ("refolding", "42501"),
]


@pytest.mark.parametrize(("phase", "state"), _SOME)
async def test_a_step_that_is_refused_ends_the_run_or_is_heard(
    client: Client, database: Database, phase: str, state: str
) -> None:
    await _refused_in(client, database, phase, state, seconds=25)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_every_state_in_every_phase(client: Client, template: Any) -> None:
    from tests.support.databases import drop_database, make_database

    seed = random.randrange(2**32)
    print(f"seed {seed}")
    pairs = [(phase, state) for phase in PHASES for state in STATES]
    random.Random(seed).shuffle(pairs)
    wrong = []
    heard = []
    for number, (phase, state) in enumerate(pairs):
        made = await make_database(template)
        try:
            heard.append(await _refused_in(client, made, phase, state, seconds=25))
        except (AssertionError, TimeoutError) as error:
            print(f"{phase}, {state}: {error!r:.1000}", flush=True)
            wrong.append((phase, state))
        finally:
            await drop_database(template, made)
        print(f"{number + 1} of {len(pairs)}: {phase}, {state}: {heard[-1:]}", flush=True)
    print(f"ended or said why: after {statistics.median(heard):.2f} s, at most {max(heard):.2f} s")
    assert wrong == []


async def _refused_in(
    client: Client, database: Database, phase: str, state: str, *, seconds: float
) -> float:
    """Refuses it; returns after how many seconds the run had ended, or said why it waits."""
    projection = counters(batch_size=20, partitions=1)
    await write(database.engine, _added(8, 5))
    manager = ProjectionManager(client, database.url)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "counters")
        await write(database.engine, _added(8, 2))
        async with database.engine.begin() as connection:
            # Something for the swap to prepare.
            await connection.execute(text("COMMENT ON TABLE counters IS 'by hand'"))
        async with refusing(database, phase, state, SECRET) as refused:
            handle = await start(
                client, database, "Rebuild", {"projection": "counters"}, workflow_id=_id(database)
            )
            await until(refused.met, 30)
            began = time.monotonic()
            said = await _ends_or_says(handle, seconds)
            heard = time.monotonic() - began
            if _looks_changed(phase, state):
                assert state in " ".join((await _progress(handle)).waiting_for)
            elif judge_state(state) is Judgement.FINAL or _is_refused(phase, state):
                await until(lambda: _ended(handle), seconds)
            elif said is None:
                assert (await _progress(handle)).waiting_for
            else:
                assert said.step == PHASES[phase]
                assert state in said.message
                assert state in await _last_failure(handle)
                details = await _details(handle)
                assert state in details
                if phase == "refolding":
                    for command, status in (("status", 0), ("health", 1)):
                        found = await asyncio.to_thread(_typed, client, database, command)
                        assert state in found.output
                        assert found.exit_code == status
                    shown = figures(await _progress(handle))
                    assert f"{said.step} fails" in shown
                    assert state in shown
                if phase != "planning":
                    [known] = await manager.get_failing_steps("counters", handle.id)
                    assert known.step == said.step
                    health = await manager.get_health("counters")
                    assert not health.is_healthy
                    assert state in (health.reason or "")
        if not await _ended(handle):
            # What refused is gone: it goes on, and says nothing of it any more.
            await asyncio.wait_for(handle.result(), 60)
        elif phase == "cleaning up":
            failure = await failed(handle)
            assert (failure.type, state in failure.message) == ("CannotEnd", True)
            # As workers do every 15 seconds.
            assert (await Sweep(database.engine, TemporalExecutions(client)).run_once()).done != []
            assert await leftovers(database.engine) == []
        ended = await _progress(handle)
        assert ended.failing is None
        assert SECRET.encode() not in await kept(handle)
        history = json.loads((await handle.fetch_history()).to_json())
        assert max(len(json.dumps(event)) for event in history["events"]) < 10_000
    await assert_oracle(database.engine, projection)
    return heard


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("state", ["AB123", *soak("42501")])
async def test_a_live_projection_that_is_refused_fails_or_is_heard(
    client: Client, database: Database, state: str
) -> None:
    projection = counters(batch_size=20)
    async with (
        working(client, database, registry_of(projection)),
        live(client, database) as handle,
    ):
        await until_status(handle, "live")
        async with refusing(database, "live", state, SECRET) as refused:
            await write(database.engine, _added(4, 1))
            await until(refused.met, 30)
            if judge_state(state) is Judgement.FINAL:
                await until_status(handle, "failed")
                said = str((await _health(handle)).error)
            else:
                await until(lambda: _fails(handle), 25)
                health = await _health(handle)
                standing = Standing(projection="counters")
                known = [health.failing] if health.failing else []
                judgement = judged(standing, health.status, None, None, known)
                assert not judgement.is_healthy
                said = str(judgement.reason)
                assert "following fails" in said
                assert state in await _last_failure(handle)
            assert state in said
            assert SECRET not in said
            assert state in await _details(handle)
        if judge_state(state) is Judgement.FINAL:
            await handle.signal("restart")
        await until_position(database, 204)
        await until_status(handle, "live")
        await until(lambda: _works(handle))
        assert SECRET.encode() not in await kept(handle)
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_a_column_that_is_renamed_under_a_live_projection_fails_it(
    client: Client, database: Database
) -> None:
    async with (
        working(client, database, registry_of(counters())),
        live(client, database) as handle,
    ):
        await until_status(handle, "live")
        async with database.engine.begin() as connection:
            await connection.execute(text('ALTER TABLE counters RENAME "last" TO latest'))
        await write(database.engine, _added(4, 1))
        await until_status(handle, "failed")
        error = (await _health(handle)).error
        assert error is not None
        assert "42703" in error.message
        assert "renamed or dropped" in error.message


async def _health(handle: WorkflowHandle[Any, Any]) -> LiveHealth:
    answer: LiveHealth = await handle.query("health", result_type=LiveHealth)
    return answer


async def _works(handle: WorkflowHandle[Any, Any]) -> bool:
    return not await _fails(handle)


async def _fails(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await _health(handle)).failing is not None


def _id(database: Database) -> str:
    return f"second/{queue(database)}"


def _typed(client: Client, database: Database, command: str) -> Result:
    """What a command prints, and its exit status."""
    settings = {
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_PROJECTIONS": "tests.support.mortal",
        "REFOLD_TASK_QUEUE": queue(database),
        "TEMPORAL_ADDRESS": client.service_client.config.target_host,
    }
    return CliRunner().invoke(app, [command, "counters"], env=settings)


async def _details(handle: WorkflowHandle[Any, Any]) -> str:
    # Its Markdown, without what escapes it.
    return str(await handle.query("__temporal_workflow_metadata")).replace("\\", "")
