"""Follows a run on the terminal: shows a bar, or a line now and then, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from refold.cli.output import CANCELLED, at_end, console, errors, goes_on, print_json
from refold.errors.words import printable
from refold.messages.run.life import BackfillResult, Progress
from refold.messages.run.status import RunStatus
from refold.messages.step_failures import StepFailure
from refold.runtime.settings import load_settings

if TYPE_CHECKING:
    from refold.manager.projections import ProjectionManager, StartedRun

# In a file or a pipe there is no bar, but a line for each phase, and one after so many seconds.
_LINE_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_STANDS_STILL = (RunStatus.PAUSING, RunStatus.PAUSED)


async def make_manager() -> ProjectionManager:
    """A manager on the configured Temporal and database, closed when the command has ended."""
    # Only now: what is refused before, and the help, need neither client nor driver.
    from refold.manager.projections import ProjectionManager
    from refold.runtime.temporal.client import connect

    settings = load_settings()
    manager = ProjectionManager(
        await connect(),
        settings.database_url,
        task_queue=settings.task_queue,
        tenant_path=settings.tenant_path,
    )
    at_end(manager.close)
    return manager


async def tell_if_nobody_works(manager: ProjectionManager) -> None:
    """Says on standard error that there is no worker, if the database knows of none."""
    from refold.runtime.database import DATABASE_ERRORS

    with contextlib.suppress(*DATABASE_ERRORS):
        if not await asyncio.wait_for(manager.has_workers(), _LOOK_SECONDS):
            queue = load_settings().task_queue
            errors.print(
                f"no worker of task queue {queue!r} has shown itself for a minute: start one with "
                "`refold worker`, or look at its log",
                soft_wrap=True,
            )


async def follow(manager: ProjectionManager, run: StartedRun, *, json: bool) -> None:
    """Follows a run to its end and says how it ended; exits with status 3 when cancelled."""
    await tell_if_nobody_works(manager)
    name = run.workflow_id.partition("/")[2]
    goes_on(
        f"{run.workflow_id} goes on: `refold watch {name}` follows it, `refold cancel {name}` "
        "stops it"
    )
    await follow_with_bar(manager, run, show=not json)
    result = await manager.result(run)
    if json:
        print_json(result)
    else:
        console.print(summary(result), soft_wrap=True)
    if result.status is RunStatus.CANCELLED or result.reason is not None:
        raise typer.Exit(CANCELLED)


async def follow_or_tell(
    manager: ProjectionManager, name: str, run: StartedRun, *, detach: bool, json: bool
) -> None:
    """Follows a run that was just started to its end, or only says that it was started."""
    if not detach:
        await follow(manager, run, json=json)
        return
    await tell_if_nobody_works(manager)
    if json:
        print_json({"workflow_id": run.workflow_id, "run_id": run.run_id})
    else:
        console.print(f"started {run.workflow_id} (run {run.run_id}); `refold watch {name}`")


async def follow_with_bar(
    manager: ProjectionManager, run: StartedRun, *, show: bool = True
) -> None:
    """Shows a run's progress until it ends: on a terminal a bar, else a line every few seconds."""
    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]}", markup=False),
        console=console,
        disable=not show or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(run.workflow_id, total=100, events="waiting for a worker")
        said, said_at = "", 0.0
        told: StepFailure | None = None
        async for progress in manager.watch(run):
            phase = _doing(progress)
            bar.update(
                task,
                completed=progress.percent_complete,
                description=f"{run.workflow_id} {phase}",
                events=printable(figures(progress)),
            )
            now = time.monotonic()
            due = phase != said or now - said_at > _LINE_SECONDS
            failing = progress.failing
            if failing is not None and failing != told:
                due = True  # at once: nothing else will be new for a while
            if show and due and _is_news(progress, said):
                alone = progress.status is RunStatus.AWAITING_APPROVAL or failing is not None
                if not console.is_terminal or alone:
                    console.print(
                        f"{run.workflow_id} {phase}: {figures(progress)}{_hint(progress, run)}",
                        soft_wrap=True,
                    )
                said, said_at, told = phase, now, failing


def _doing(progress: Progress) -> str:
    """What people read first: how it ended, that it stands still, or what it does."""
    if progress.status.ended or progress.status in _STANDS_STILL:
        return progress.status.value
    return progress.phase.value


def _is_news(progress: Progress, said: str) -> bool:
    # It may wait for days: once is enough.
    return _doing(progress) != said or progress.status is not RunStatus.AWAITING_APPROVAL


def _hint(progress: Progress, run: StartedRun) -> str:
    if progress.status is not RunStatus.AWAITING_APPROVAL:
        return ""
    return f"; {approval_hint(run.workflow_id.partition('/')[2] or 'NAME')}"


def approval_hint(name: str) -> str:
    """What to type while a projection's new table waits for a person."""
    return f"`refold diff {name}`, then `refold approve {name}` or `refold reject {name}`"


def figures(progress: Progress) -> str:
    """Progress as one line of figures."""
    left = progress.estimated_seconds_remaining
    time_left = "" if left is None or progress.status.ended else f", {left:,.0f} s left"
    held = f"; held up: {'; '.join(progress.waiting_for)}" if progress.waiting_for else ""
    if progress.obstacles:
        held += f"; would stop the swap: {'; '.join(progress.obstacles)}"
    letters = f", {_letters(progress.dead_letters)}" if progress.dead_letters else ""
    failing = f"; {progress.failing}" if progress.failing is not None else ""
    return (
        f"{progress.events_processed:,} of {progress.total_events:,} events, "
        f"{progress.events_per_second:,.0f}/s{time_left}{letters}{held}{failing}"
    )


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def summary(result: BackfillResult) -> str:
    """How a run ended, in one line."""
    why = f" ({result.reason})" if result.reason else ""
    if result.status is RunStatus.CANCELLED:
        left = "the new table is removed"
        if result.in_place:
            left = "the rows that it has put right stay so; start it again for the others"
        return f"{result.projection}: cancelled{why}; {left}"
    if result.is_snapshot:
        return (
            f"{result.projection}: the snapshot is generation {result.generation}, at position "
            f"{result.position:,}"
        )
    live = f"generation {result.generation} is live"
    if result.position is not None:
        live += f" at position {result.position:,}"
    if result.dead_letters:
        live += f"; {_letters(result.dead_letters)}: `refold dead-letters list {result.projection}`"
    return (
        f"{result.projection}: {result.status}{why}, {result.events_processed:,} events folded, "
        f"{live}{f'; {result.note}' if result.note else ''}"
    )


def asked(name: str, run: StartedRun, what: str, *, json: bool) -> None:
    """Says that a run has been asked to do something."""
    if json:
        print_json({"workflow_id": run.workflow_id, "run_id": run.run_id, "asked": what})
    else:
        console.print(f"asked {run.workflow_id} to {what}; `refold watch {name}` shows how it goes")


def require_known(name: str) -> None:
    """Refuses the name of a projection that is not registered.

    Raises:
        UnknownProjection: It is not registered; the message names the projections that are.
    """
    load_settings().registry().get(name)
