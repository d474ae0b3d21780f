"""What a select may read of events, and which of its columns are the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Cast,
    ColumnElement,
    DateTime,
    Integer,
    Label,
    Subquery,
    Text,
    TypeCoerce,
    column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, Grouping

from refold.projection.keys.part import KeyPart

EVENTS = table(
    "events",
    column("position", BigInteger),
    column("stream_id", Text),
    column("version", Integer),
    column("type", Text),
    column("data", JSONB),
    column("metadata", JSONB),
    column("recorded_at", DateTime(timezone=True)),
)
"""The events, before it is known where they are."""

_JSON = ("data", "metadata")
_STEPS = ("->", "->>", "#>", "#>>", "json_getitem_op", "json_path_getitem_op", "getitem")


def key_names(count: int) -> list[str]:
    """What the parts of the key are called among the columns of events."""
    return ["key"] if count == 1 else [f"key_{number}" for number in range(1, count + 1)]


def declared_events(paths: Sequence[KeyPart]) -> Subquery:
    """The relation that a select is given when it is declared; without paths it has no key."""
    names = key_names(len(paths)) if paths else []
    parts = [path.sql(EVENTS).label(name) for path, name in zip(paths, names, strict=True)]
    return select(*EVENTS.c, *parts).subquery("events")


def is_column(found: ColumnElement[Any], events: Subquery, name: str) -> bool:
    """Whether an expression is a column of events, also one that leads there through subqueries."""
    return name in events.c and bool(_bare(found).proxy_set & events.c[name].proxy_set)


def is_key(found: ColumnElement[Any], events: Subquery, paths: Sequence[KeyPart], at: int) -> bool:
    """Whether an expression is the part `at` of the key."""
    name = key_names(len(paths))[at]
    return is_column(found, events, name) or path_of(found, events) == paths[at].path


def path_of(found: ColumnElement[Any], events: Subquery) -> str | None:
    """The path into an event that an expression is; None when it is none."""
    if is_column(found, events, "stream_id"):
        return "stream_id"
    for element in _bare(found).proxy_set:
        steps = _steps(element, events)
        if steps is not None and len(steps) > 1:
            return ".".join(steps)
    return None


def _steps(element: Any, events: Subquery) -> list[str] | None:
    element = _bare(element)
    for name in _JSON:
        if element.proxy_set & events.c[name].proxy_set:
            return [name]
    if not isinstance(element, BinaryExpression) or not isinstance(element.right, BindParameter):
        return None
    operator: Any = element.operator
    if getattr(operator, "opstring", getattr(operator, "__name__", "")) not in _STEPS:
        return None
    before, step = _steps(element.left, events), element.right.value
    if before is None or not isinstance(step, str | int | tuple | list):
        return None
    return [*before, *map(str, [step] if isinstance(step, str | int) else step)]


def _bare(found: Any) -> Any:
    """An expression without the name, the parentheses and the type that it is given."""
    while isinstance(found, Label | Grouping | Cast | TypeCoerce):
        found = found.element if isinstance(found, Label | Grouping) else found.clause
    return found
