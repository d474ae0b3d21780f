"""`refold`: the command line's entry."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from refold.cli import (
    checkpoint,
    dead_letters,
    events,
    live,
    log,
    release,
    roles,
    schedule,
    snapshots,
    stack,
)
from refold.cli import generations as generation_commands
from refold.cli.doctor.command import doctor
from refold.cli.output import console
from refold.cli.project import new
from refold.cli.project.init import init
from refold.cli.rows.explain import explain
from refold.cli.rows.fold import fold
from refold.cli.rows.rows import rows
from refold.cli.runs import commands, controls
from refold.cli.status.command import status
from refold.cli.status.projections import projections
from refold.runtime.command import leave

app = typer.Typer(
    name="refold",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        console.print(f"refold {version('refold')}")
        raise typer.Exit


@app.callback()
def refold(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Say which version it is.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Durable backfills and rebuilds of the read models of event-sourced applications."""


app.command()(init)
app.add_typer(new.app, name="new")
app.command()(stack.dev)
app.command()(stack.demo)
app.command()(stack.migrate)
app.command()(roles.roles)
app.command()(stack.worker)
app.add_typer(events.app, name="events")
app.command()(projections)
app.command()(status)
app.command()(live.start)
app.command()(live.stop)
app.command()(live.restart)
app.command()(live.health)
app.command()(doctor)
app.command()(log.log)
app.command()(rows)
app.command()(explain)
app.command()(fold)
app.command()(commands.backfill)
app.command()(commands.rebuild)
app.command()(commands.rollback)
app.command()(commands.watch)
app.command()(controls.pause)
app.command()(controls.resume)
app.command()(controls.set_limits)
app.command()(commands.cancel)
app.command()(commands.diff)
app.command()(commands.approve)
app.command()(commands.reject)
app.command()(release.release)
app.command()(generation_commands.generations)
app.add_typer(snapshots.app, name="snapshots")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(schedule.app, name="schedule")
app.add_typer(dead_letters.app, name="dead-letters")


def main() -> None:
    """Runs the command line."""
    status = 0
    try:
        app()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    leave(status)


if __name__ == "__main__":
    main()
