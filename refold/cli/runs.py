"""backfill, rebuild, watch, cancel: runs, followed with a progress bar."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
)
from rich.progress import (
    Progress as Bar,
)

from refold.cli.output import CANCELLED, Json, Name, console, finished, print_json
from refold.errors import InvalidRequest
from refold.manager import ProjectionManager, StartedRun
from refold.messages import (
    BackfillRequest,
    BackfillResult,
    Criteria,
    Progress,
    RunStatus,
    accept_request,
)
from refold.settings import load_settings
from refold.temporal import connect

# Into a file or a pipe there is no bar, but a line now and then.
_LINE_SECONDS = 5.0

BatchSize = Annotated[int | None, typer.Option(min=1, max=100_000, help="Events a transaction.")]
Concurrency = Annotated[int | None, typer.Option(min=1, max=64, help="Partitions at a time.")]
Detach = Annotated[bool, typer.Option("--detach", help="Start it and return at once.")]
RequestedBy = Annotated[str | None, typer.Option(help="Who asks, for the record.")]


def backfill(
    name: Name,
    *,
    full: Annotated[bool, typer.Option("--full", help="Refold every key (default).")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Apply new events only.")
    ] = False,
    atomic: Annotated[
        bool, typer.Option("--atomic", help="Build a new table aside and swap it in.")
    ] = False,
    batch_size: BatchSize = None,
    max_concurrency: Concurrency = None,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Repair a read model in place."""
    if full and incremental:
        raise typer.BadParameter("expected one of --full and --incremental, got both")
    criteria = Criteria.INCREMENTAL_UPDATE if incremental else Criteria.FULL_REBUILD
    request = _request(
        projection=name,
        criteria=criteria,
        is_atomic=atomic or None,
        batch_size=batch_size,
        max_concurrency=max_concurrency,
        requested_by=requested_by,
    )
    finished(_run("Backfill", name, request, detach=detach, json=json))


def rebuild(
    name: Name,
    *,
    batch_size: BatchSize = None,
    max_concurrency: Concurrency = None,
    requested_by: RequestedBy = None,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Build a read model anew, aside, and swap it in."""
    request = _request(
        projection=name,
        batch_size=batch_size,
        max_concurrency=max_concurrency,
        requested_by=requested_by,
    )
    finished(_run("Rebuild", name, request, detach=detach, json=json))


def watch(name: Name, *, json: Json = False) -> None:
    """Follow the run of a projection until it ends."""

    async def follow() -> None:
        manager = await _manager()
        run = await manager.current_run(name)
        await _follow(manager, run, json=json)

    finished(follow())


def cancel(
    name: Name,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    json: Json = False,
) -> None:
    """Stop the run of a projection; what it built aside is removed."""

    async def ask() -> None:
        run = await (await _manager()).cancel_backfill(name, reason)
        if json:
            print_json({"workflow_id": run.workflow_id, "run_id": run.run_id, "asked": "cancel"})
        else:
            console.print(f"asked {run.workflow_id} to cancel; `refold watch {name}` shows the end")

    finished(ask())


def _request(**fields: object) -> BackfillRequest:
    try:
        return accept_request([{k: v for k, v in fields.items() if v is not None}])
    except (InvalidRequest, ValidationError) as error:
        raise typer.BadParameter(str(error)) from None


async def _manager() -> ProjectionManager:
    settings = load_settings()
    return ProjectionManager(await connect(), settings.database_url, task_queue=settings.task_queue)


async def _run(kind: str, name: str, request: BackfillRequest, *, detach: bool, json: bool) -> None:
    manager = await _manager()
    start = manager.start_rebuild if kind == "Rebuild" else manager.start_backfill
    run = await start(name, request)
    if not detach:
        await _follow(manager, run, json=json)
    elif json:
        print_json({"workflow_id": run.workflow_id, "run_id": run.run_id})
    else:
        console.print(f"started {run.workflow_id} (run {run.run_id}); `refold watch {name}`")


async def _follow(manager: ProjectionManager, run: StartedRun, *, json: bool) -> None:
    await follow_with_bar(manager, run, show=not json)
    result = await manager.result(run)
    if json:
        print_json(result)
    else:
        console.print(summary(result), soft_wrap=True)
    if result.status is RunStatus.CANCELLED:
        raise typer.Exit(CANCELLED)


async def follow_with_bar(
    manager: ProjectionManager, run: StartedRun, *, show: bool = True
) -> None:
    """Shows a run's progress until it ends: a bar on a terminal, a line each few seconds else."""
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]}"),
        console=console,
        disable=not show or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(run.workflow_id, total=100, events="waiting for a worker")
        said, said_at = "", 0.0
        async for progress in manager.watch(run):
            phase = progress.status if progress.status.ended else progress.phase
            bar.update(
                task,
                completed=progress.percent_complete,
                description=f"{run.workflow_id} {phase}",
                events=figures(progress),
            )
            now = time.monotonic()
            due = phase != said or now - said_at > _LINE_SECONDS
            if show and not console.is_terminal and due:
                console.print(f"{run.workflow_id} {phase}: {figures(progress)}")
                said, said_at = phase, now


def figures(progress: Progress) -> str:
    """Progress as one line of figures."""
    left = progress.estimated_seconds_remaining
    time_left = "" if left is None or progress.status.ended else f", {left:,.0f} s left"
    return (
        f"{progress.events_processed:,} of {progress.total_events:,} events, "
        f"{progress.events_per_second:,.0f}/s{time_left}"
    )


def summary(result: BackfillResult) -> str:
    """How a run ended, in one line."""
    if result.status is RunStatus.CANCELLED:
        why = f" ({result.reason})" if result.reason else ""
        return f"{result.projection}: cancelled{why}; what it built aside is removed"
    return (
        f"{result.projection}: {result.status}, {result.events_processed:,} events folded, "
        f"generation {result.generation} is live at position {result.position:,}"
    )
