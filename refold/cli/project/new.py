"""new projection: a projection and its test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from refold.cli.output import console, finished
from refold.cli.project.files import rendered, write
from refold.cli.project.names import STREAM, NewProjection, new_projection
from refold.errors import InvalidProjection, InvalidRequest
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.settings import load_settings

app = typer.Typer(help="Begin something new in a project.", no_args_is_help=True)

_PLACE = "projections"
_WIDE = 88


@app.callback()
def new() -> None:
    """Begin something new in a project."""


@app.command()
def projection(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="[a-z][a-z0-9-]*, at most 40 characters.",
            show_default=False,
        ),
    ],
    *,
    key: Annotated[
        list[str],
        typer.Option(
            "--key",
            metavar="PATH",
            help="Which row an event belongs to: stream_id, data.… or metadata.…; "
            "several for a composite key.",
        ),
    ],
    on: Annotated[
        list[str],
        typer.Option("--on", metavar="TYPE", help="A type of events that it handles; several."),
    ],
) -> None:
    """Write a projection that counts events, and its test.

    They are projections/NAME.py and tests/test_NAME.py: a beginning to write handlers into.
    """
    here = Path.cwd()

    async def make() -> list[str]:
        wanted = new_projection(name, key, on)
        declared = wanted.check()
        if not (here / _PLACE).is_dir():
            raise InvalidRequest(
                f"expected a folder {_PLACE} here ({here}), got none: go to your "
                "project's folder, or make one with `refold init`"
            )
        contents = rendered("projection", _values(wanted))
        _require_room(declared, contents)
        return write(here, contents)

    for path in finished(make()):
        console.print(f"  {path}", soft_wrap=True)
    console.print(
        "\nnext: write its handlers and their test; restart workers, unless they run by "
        "`refold dev --reload`; then",
        soft_wrap=True,
    )
    console.print(f"  refold rebuild {name}", soft_wrap=True)


def _require_room(declared: Projection, contents: dict[str, str]) -> None:
    """Requires that no other projection has this name or table; a file of its own says so itself.

    Raises:
        ConfigurationError: The project's projections cannot be imported.
        InvalidRequest: There is one.
    """
    if any(Path(path).exists() for path in contents):
        return
    modules = load_settings().projections
    if _PLACE not in modules:
        raise InvalidRequest(
            f"REFOLD_PROJECTIONS: expected {_PLACE} among them, where the file is to be, got "
            f"{', '.join(modules)}: add it, or write the file there"
        )
    found = load_settings().registry()
    if declared.name in found:
        raise InvalidRequest(
            f"{declared.name!r}: expected the name of no projection, got one that is registered; "
            "`refold projections` lists them"
        )
    try:
        Registry([*found, declared])
    except InvalidProjection as wrong:
        raise InvalidRequest(str(wrong)) from wrong


def _values(wanted: NewProjection) -> dict[str, str]:
    data, metadata, key = wanted.sample()
    stream = _text(next((f"{c}-1" for p, c in _keyed(wanted) if p == STREAM), "stream-1"))
    more = f", {_literal(metadata)}" if metadata else ""
    events = [f"({stream}, {_text(kind)}, {_literal(data)}{more})," for kind in wanted.types]
    columns = [f'Column("{name}", Text, primary_key=True),' for name in wanted.columns]
    paths = _listed([_text(path) for path in wanted.key])
    return {
        "name": wanted.name,
        "module": wanted.module,
        "columns": "\n        ".join(columns),
        "key": f"({paths})" if wanted.key[1:] else paths,
        "types": _listed([_text(kind) for kind in wanted.types]),
        "events": "\n    ".join(events),
        "row": f"{_literal(key)}: {{{_text('events')}: {len(wanted.types)}}}",
    }


def _keyed(wanted: NewProjection) -> list[tuple[str, str]]:
    return list(zip(wanted.key, wanted.columns, strict=True))


def _listed(items: list[str]) -> str:
    line = ", ".join(items)
    return line if len(line) <= _WIDE else "\n    " + ",\n    ".join(items) + ",\n"


def _literal(value: dict[str, object] | tuple[str, ...] | str) -> str:
    """A value in Python's words, with the quotes of the templates."""
    if isinstance(value, tuple):
        return f"({', '.join(_text(part) for part in value)})"
    return json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
