"""What all commands share: how they run a coroutine, print JSON or text, and exit."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.text import Text

from refold.cli.options import known_names
from refold.errors.codes import code_of
from refold.errors.words import printable
from refold.runtime.command import FAILED, explained

__all__ = [
    "CANCELLED",
    "FAILED",
    "Json",
    "Name",
    "at_end",
    "console",
    "errors",
    "fail",
    "finished",
    "goes_on",
    "json_bytes",
    "length_of",
    "print_json",
]

T = TypeVar("T")

CANCELLED = 3
INTERRUPTED = 130


class PlainConsole(Console):
    """A terminal that shows names, values and errors as plain text, whatever they hold.

    Brackets are not markup, and `:words:` are not pictures. Characters that a terminal would act
    upon are shown as escape sequences, except line ends.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What a string looks like, printed or in a table's cell."""
        return super().render_str(_shown(text), **options)


def _shown(text: str) -> str:
    return "".join(c if c in _KEPT else printable(c) for c in text)


_KEPT = "\n\N{NO-BREAK SPACE}"

# In a file or a pipe, tables may be this wide.
console = PlainConsole(width=None if sys.stdout.isatty() else 200)
errors = PlainConsole(stderr=True)

Tenant = Annotated[
    str | None, typer.Option(help="Count events and dead letters of this tenant only.")
]
_wants_json: ContextVar[bool] = ContextVar("_wants_json", default=False)


def _note_json(wanted: bool) -> bool:
    _wants_json.set(wanted)
    return wanted


Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text.", callback=_note_json)
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The projection's name.",
        show_default=False,
        autocompletion=known_names,
    ),
]


@dataclass
class _Command:
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    goes_on: str | None = None


_COMMAND: ContextVar[_Command] = ContextVar("_COMMAND")


def at_end(close: Callable[[], Awaitable[None]]) -> None:
    """Registers what is to be closed when the command's coroutine ends, however it ends."""
    _COMMAND.get().stack.push_async_callback(close)


def goes_on(said: str) -> None:
    """Says what goes on though the command is interrupted; it is printed on Ctrl-C."""
    _COMMAND.get().goes_on = said


def finished(work: Awaitable[T]) -> T:
    """Runs a command's coroutine; an explained error is one line and exit status 1."""

    from refold.runtime.telemetry.traces import set_up_tracing, tracer

    command = _Command()

    async def awaited() -> T:
        async with command.stack:
            _COMMAND.set(command)
            # All that it asks of Temporal is one trace.
            with tracer.start_as_current_span(_command_line()):
                try:
                    return await work
                except Exception as error:
                    named = await _with_right_named(error)
                    if named is error:
                        raise
                    raise named from error

    try:
        set_up_tracing()
        return asyncio.run(awaited())
    except KeyboardInterrupt:
        if command.goes_on is not None:
            sys.stderr.write(f"\nrefold: {_shown(command.goes_on)}\n")
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception as error:
        fail(explained(error), type(error).__name__)
        raise AssertionError from error


async def _with_right_named(error: Exception) -> Exception:
    """The error, or one that names the right that the role lacks."""
    if "asyncpg" not in sys.modules:
        return error  # it has nothing to do with a database
    from refold.runtime.missing_rights import what_is_denied, with_right_named

    if what_is_denied(error) is None:
        return error
    from refold.runtime.database import make_engine
    from refold.runtime.settings import load_settings

    engine = make_engine(load_settings(), activities=0)
    try:
        return await with_right_named(engine, error)
    finally:
        await engine.dispose()


def _command_line() -> str:
    """The command without its arguments, such as ``refold rebuild``."""
    return " ".join(["refold", *sys.argv[1:2]])


def fail(message: str, error_type: str = "Failed") -> None:
    """Prints an error, as JSON too when the command prints JSON, and exits with status 1."""
    sys.stderr.write(f"refold: {_shown(message)}\n")
    if _wants_json.get():
        code = code_of(error_type)
        print_json({"error": {"code": code, "type": error_type, "message": message}})
    raise typer.Exit(FAILED)


def print_json(value: Any) -> None:
    """Prints a value as one JSON document."""
    sys.stdout.buffer.write(json_bytes(value, indented=True))
    sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()


def json_bytes(value: Any, *, indented: bool = False) -> bytes:
    """A value as one JSON document, for people on several lines if it is indented."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 if indented else None)
    except TypeError:  # a whole number of more than 64 bits
        indent = 2 if indented else None
        return json.dumps(value, default=_plain, indent=indent, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)


def length_of(seconds: float) -> str:
    """A length of time, in the largest unit of which it has at least two."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.1f} s"
