"""The commands of `refold`, in the order of its help. Each is imported when it is typed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands, and where it stands.

    Attributes:
        name: What is typed.
        place: ``module:name`` of its function, or of a group's `typer.Typer`, below `refold.cli`.
        help: What the list of commands says of it: the first sentence of its own help.
    """

    name: str
    place: str
    help: str


COMMANDS = (
    Command("init", "project.init:init", "Make a project that runs at once."),
    Command("new", "project.new:app", "Begin something new in a project."),
    Command("dev", "stack:dev", "Keep an embedded stack up until Ctrl-C."),
    Command("demo", "stack:demo", "Rebuild a sample shop's read model on an embedded stack."),
    Command("migrate", "stack:migrate", "Make or upgrade the schema, and search attributes."),
    Command("roles", "roles.command:roles", "Print the SQL that makes Refold's database roles."),
    Command("worker", "stack:worker", "Run a worker until SIGINT or SIGTERM."),
    Command("events", "events:app", "Events, and where they are."),
    Command("projections", "status.projections:projections", "List the registered projections."),
    Command(
        "status",
        "status.command:status",
        "Show how projections and mirrors stand, and what to type.",
    ),
    Command("web", "web.command:web", "Serve a page that shows how projections stand, live."),
    Command("start", "live:start", "Keep a read model up with the log, from now on."),
    Command("stop", "live:stop", "Stop following the log; the checkpoint stays."),
    Command("restart", "live:restart", "Try again at once, from the checkpoint."),
    Command("health", "live:health", "Show how live projections and mirrors are."),
    Command(
        "doctor", "doctor.command:doctor", "Say what is wrong in the deployment, and what to do."
    ),
    Command("log", "log:log", "Show what has happened to projections: system events."),
    Command("rows", "rows.rows:rows", "Show rows of a read model as readers see them."),
    Command("explain", "rows.explain:explain", "Show why a row is as it is."),
    Command("fold", "rows.fold:fold", "Fold an event file in memory and show the rows."),
    Command("backfill", "runs.commands:backfill", "Repair a read model in place."),
    Command("rebuild", "runs.commands:rebuild", "Build a read model anew, aside, and swap it in."),
    Command(
        "rollback",
        "runs.commands:rollback",
        "Put a replaced generation live again, with all events since.",
    ),
    Command("watch", "runs.commands:watch", "Follow the run of a projection until it ends."),
    Command(
        "pause", "runs.controls:pause", "Pause the run of a projection after the batches in hand."
    ),
    Command("resume", "runs.controls:resume", "Let a paused run go on."),
    Command(
        "set-limits", "runs.controls:set_limits", "Change the limits of a run while it goes on."
    ),
    Command(
        "cancel", "runs.commands:cancel", "Stop the run of a projection; the new table is removed."
    ),
    Command("diff", "runs.commands:diff", "Show what the latest rebuild changes, or has changed."),
    Command("approve", "runs.commands:approve", "Let the table that awaits approval go live."),
    Command("reject", "runs.commands:reject", "Discard the table that awaits approval."),
    Command("release", "release:release", "End the run of an installation that is gone for good."),
    Command("generations", "generations:generations", "List a projection's generations."),
    Command("snapshots", "snapshots:app", "A read model as it was at some positions."),
    Command("checkpoint", "checkpoint:app", "See how far a read model is, or set it back."),
    Command("schedule", "schedule:app", "Backfills by the calendar."),
    Command("dead-letters", "dead_letters:app", "Poison events that were set aside."),
    Command("codec", "codec.commands:app", "Encrypt what crosses Temporal."),
)


class Later(TyperCommand):
    """Stands for a command in lists and completion; what it stands for is imported when used."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.name, help=command.help)
        self._place = command.place

    def loaded(self) -> Any:
        """The command itself."""
        module, _, name = self._place.partition(":")
        found = getattr(import_module(f"refold.cli.{module}"), name)
        # Typer makes commands of a whole command line, whose settings they take over.
        line = typer.Typer(rich_markup_mode=None, add_completion=False)
        line.callback()(lambda: None)
        if isinstance(found, typer.Typer):
            line.add_typer(found, name=self.name)
        else:
            line.command(self.name)(found)
        group: Any = get_command(line)
        return group.commands[self.name]

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """The command's own context, of which all else is asked: its options, and its work."""
        return self.loaded().make_context(info_name, args, *rest, **more)
