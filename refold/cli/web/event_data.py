"""Rows and their lives, as the page shows them with `--control`: every value as text."""

from __future__ import annotations

from typing import Any

from refold.cli.rows.explain import seen_text, version_of
from refold.cli.rows.rows import read_rows
from refold.cli.rows.values import cell, text_of
from refold.cli.web.places import Places
from refold.projection.declaration import Row
from refold.projection.typed_key import typed_key
from refold.source.stepwise.row_life import Step

_ROWS = 20
_STEPS = 50


async def some_rows(places: Places, name: str) -> dict[str, Any]:
    """The first rows of a read model, in the order of their keys.

    Raises:
        RefoldError: See `read_rows`.
    """
    found = await read_rows(places.engine, places.registry, name, [], _ROWS)
    key = [str(c.name) for c in places.registry.get(name).table.primary_key.columns]
    return {
        "columns": list(found[0]) if found else [],
        "rows": [[cell(value) for value in row.values()] for row in found[:_ROWS]],
        "keys": [[_typed(row.get(column)) for column in key] for row in found[:_ROWS]],
        "more": len(found) > _ROWS,
    }


async def life(
    places: Places, name: str, key: list[str], version: int | None, after: int | None
) -> dict[str, Any]:
    """Every event of a key, with what it makes of the row.

    Args:
        places: Where to look.
        name: The projection.
        key: A text for each key column.
        version: Whose handlers fold; None for the highest.
        after: Only steps after this position (exclusive).

    Raises:
        RefoldError: There is no such projection, version or key; or the events cannot be folded.
    """
    projection = version_of(places.registry, name, version)
    manager = await places.manager()
    told = await manager.explain(projection, typed_key(projection, key), after=after, limit=_STEPS)
    (one,) = told.lives
    return {
        "version": one.version,
        "key": [[name, cell(value)] for name, value in told.key.items()],
        "steps": [_step(step, told.key) for step in one.steps],
        "row": None if one.row is None else _texts(one.row, told.key),
        "more_after": None if one.is_whole else str(one.position),
        "seen": seen_text(told),
        "is_right": told.is_right,
        "letters": [
            f"held by dead letter {letter.id}, event {letter.position}: {letter.error}"
            for letter in told.letters
        ],
    }


def _step(step: Step, key: Row) -> dict[str, Any]:
    event, before, after = step.event, step.before, step.after
    changes = []
    if step.error is None and after is not None:
        was = before or {}
        changes = [
            [name, None if before is None else text_of(was.get(name)), text_of(value)]
            for name, value in after.items()
            if name not in key and (before is None or was.get(name) != value)
        ]
    return {
        # As text: JavaScript has no whole numbers of 64 bits.
        "position": str(event.position),
        "type": event.type,
        "stream": event.stream_id,
        "version": event.version,
        "at": event.recorded_at,
        "error": step.error,
        "appears": before is None and after is not None,
        "disappears": before is not None and after is None,
        "changes": changes,
    }


def _texts(row: Row, key: Row) -> list[list[str]]:
    return [[name, text_of(value)] for name, value in row.items() if name not in key]


def _typed(value: Any) -> str:
    """A key's value as `typed_key` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
