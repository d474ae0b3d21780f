"""`refold`: the command line's entry. It imports what a command needs when that is typed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from refold.cli.commands import COMMANDS, Later
from refold.runtime.importing import import_swiftly
from refold.runtime.leaving import leave


class _Commands(TyperGroup):
    """All commands; none of them is imported yet."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in COMMANDS:
            self.add_command(Later(command))


app = typer.Typer(
    name="refold",
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"refold {version('refold')}")
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


def main() -> None:
    """Runs the command line."""
    import_swiftly()
    status = 0
    try:
        app()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    leave(status)


if __name__ == "__main__":
    main()
