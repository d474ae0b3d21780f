"""How the rows of new events are merged into those that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, Table, func
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import Over

from refold.errors import InvalidProjection
from refold.projection.columns.declared import written_columns

Merge = Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[Any]]
"""The column as it stands and what new events make of it in; the column after them out."""

NAMED: Mapping[str, Merge] = {
    # NULL is "nothing yet" for all of them but the last two.
    "sum": lambda old, new: func.coalesce(old + new, old, new),
    "min": func.least,
    "max": func.greatest,
    "first": lambda old, new: old,
    "last": lambda old, new: new,
}
"""Ways to merge that have a name."""


def merges_of(
    name: str, table: Table, select: Select[Any], merge: Mapping[str, str | Merge]
) -> dict[str, Merge]:
    """The function that merges each column, by the column's name.

    Raises:
        InvalidProjection: A column is not mentioned, or is none; or what new events alone make of
            the select says nothing of the whole.
    """
    others = {str(c.name): c for c in written_columns(table) if not c.primary_key}
    if {*merge} != {*others}:
        raise InvalidProjection(
            f"{name}: merge: expected one entry for each column beside the key "
            f"({', '.join(others) or 'none'}), got {', '.join(map(str, merge)) or 'none'}"
        )
    _require_plain(name, select)
    made: dict[str, Merge] = {}
    for column, how in merge.items():
        known = NAMED.get(how) if isinstance(how, str) else how
        if known is None or not callable(known):
            raise InvalidProjection(
                f"{name}: merge: {column!r}: expected {', '.join(NAMED)}, or a function of the old "
                f"and the new value, got {how!r}"
            )
        if how == "sum" and isinstance(others[column].type, Float):
            raise InvalidProjection(
                f"{name}: merge: {column!r}: a sum of floats depends on the order in which they "
                "are added: make the column Numeric, or leave merge out"
            )
        made[column] = known
    return made


def _require_plain(name: str, select: Select[Any]) -> None:
    parts = {
        "HAVING": bool(select._having_criteria),
        "DISTINCT": bool(select._distinct),
        "a window function": any(isinstance(one, Over) for one in visitors.iterate(select)),
    }
    found = [part for part, there in parts.items() if there]
    inner = [
        one for one in visitors.iterate(select) if isinstance(one, Select) and one is not select
    ]
    # One is the relation of events itself.
    if len(inner) > 1:
        found.append("a subquery")
    if not select._group_by_clauses:
        found.append("no GROUP BY")
    if found:
        raise InvalidProjection(
            f"{name}: merge: expected a plain select with GROUP BY, got {', '.join(found)}: what "
            "new events alone make of it cannot be merged; leave merge out, then the keys of new "
            "events are computed anew"
        )
