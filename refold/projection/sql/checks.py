"""What is refused of a select, with the reason, when it is declared."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Select, Subquery, Table, TableClause
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, Over, TextClause

from refold.errors import InvalidProjection
from refold.errors.words import raised
from refold.projection.columns.declared import written_columns
from refold.projection.columns.decorated import DIALECT
from refold.projection.keys.part import KeyPart
from refold.projection.sql.key_of_select import EVENTS, is_column, is_key

SelectFunction = Callable[[Any], Any]
"""The relation of events in; the select that is the read model out."""

# They say another thing each time, or on each machine.
_MOMENTARY = re.compile(
    r"\b(?:now|random|random_normal|clock_timestamp|statement_timestamp|transaction_timestamp|"
    r"timeofday|gen_random_uuid|uuid_generate_v[14]|uuidv[47]|nextval|currval|txid_current|"
    r"pg_current_xact_id)\s*\(|\b(?:current_(?:timestamp|date|time|user|role)|localtime(?:stamp)?|"
    r"session_user)\b",
    re.IGNORECASE,
)
_READS = re.compile(r"\b(?:from|join)\b", re.IGNORECASE)


def called(name: str, select: SelectFunction, events: Any) -> Select[Any]:
    """The select that the function makes of a relation of events.

    Raises:
        InvalidProjection: It makes none.
    """
    try:
        made = select(events)
    except Exception as error:
        raise InvalidProjection(
            f"{name}: select: its function raised {raised(error)}: expected one that takes the "
            f"relation of events, with the columns {', '.join(str(c.name) for c in events.c)}"
        ) from error
    if not isinstance(made, Select):
        raise InvalidProjection(
            f"{name}: select: expected a function that returns sqlalchemy.select(…), got "
            f"{type(made).__name__}"
        )
    return made


def require_tables(name: str, select: Select[Any], lookups: Collection[FromClause]) -> None:
    """Requires that it reads events, and beside them only what is declared.

    Raises:
        InvalidProjection: It reads no events, or another table.
    """
    known = {full_name(one) for one in lookups}
    reads_events = False
    for element in visitors.iterate(select):
        if element is EVENTS:
            reads_events = True
        elif isinstance(element, TableClause) and full_name(element) not in known:
            raise InvalidProjection(
                f"{name}: select: it reads the table {full_name(element)!r}, whose changes are no "
                "events: name it in lookups= if its rows never change, or change rarely enough to "
                "rebuild by hand"
            )
        elif isinstance(element, TextClause) and _READS.search(element.text):
            raise InvalidProjection(
                f"{name}: select: expected tables as SQLAlchemy's, got text that selects from one: "
                "it could not be restricted to the events that are meant"
            )
    if not reads_events:
        raise InvalidProjection(
            f"{name}: select: expected one that selects from the relation that it is given, got "
            "one that reads no events"
        )


def full_name(table: Any) -> str:
    """A table's name with its schema, if it has one."""
    return table.fullname if isinstance(table, Table) else str(table.name)


def require_constant(name: str, select: Select[Any]) -> None:
    """Requires that the same events always make the same rows, as far as that can be seen.

    Raises:
        InvalidProjection: A function of the moment or of chance is called; or the statement
            cannot be made.
    """
    try:
        sql = str(select.compile(dialect=DIALECT))
    except SQLAlchemyError as error:
        raise InvalidProjection(f"{name}: select: PostgreSQL cannot say it: {error}") from None
    found = _MOMENTARY.search(sql)
    if found is not None:
        raise InvalidProjection(
            f"{name}: select: {found[0].rstrip('( ')!r} says another thing each time: take what "
            "events say, such as recorded_at, or a rebuild makes other rows"
        )
    wrong = {
        "LIMIT or OFFSET": select._has_row_limiting_clause,
        "FOR UPDATE": select._for_update_arg is not None,
    }
    for what, there in wrong.items():
        if there:
            raise InvalidProjection(
                f"{name}: select: expected none with {what}: it is run for some keys at a time"
            )


def positions_of(name: str, select: Select[Any], table: Table) -> list[int]:
    """Which column of the select fills each column of the table, in the table's order.

    Raises:
        InvalidProjection: The columns do not fit the table's.
    """
    wanted = [str(column.name) for column in written_columns(table)]
    columns = list(select.selected_columns)
    got = [_labelled(column) for column in columns]
    if len(columns) != len(wanted):
        raise InvalidProjection(
            f"{name}: select: expected {len(wanted)} columns for those of table {table.name!r} "
            f"({', '.join(wanted)}), got {len(columns)}"
        )
    if {*got} == {*wanted}:
        return [got.index(column) for column in wanted]
    for at, label in enumerate(got):
        if label in wanted and wanted[at] != label:
            raise InvalidProjection(
                f"{name}: select: column {at + 1} is {label!r}, and column {at + 1} of table "
                f"{table.name!r} is {wanted[at]!r}: label all columns as the table has them, or "
                "put them in the table's order"
            )
    return list(range(len(wanted)))


def place_of(table: Table, column: Column[Any]) -> int:
    """Which of the columns that are written a column of the table is, from 0."""
    return [str(one.name) for one in written_columns(table)].index(str(column.name))


def _labelled(column: ColumnElement[Any]) -> str | None:
    name = getattr(column, "name", None)
    return str(name) if isinstance(name, str) else None


def require_key(
    name: str,
    select: Select[Any],
    events: Subquery,
    paths: Sequence[KeyPart],
    places: Sequence[int],
) -> None:
    """Requires one row a key: the key is selected, and all is grouped by it.

    Args:
        name: The projection's.
        select: The select.
        events: The relation that it was given.
        paths: The key.
        places: Which column of the select is each part of it.

    Raises:
        InvalidProjection: The select has another key, or looks at the events of several keys.
    """
    columns = list(select.selected_columns)
    wanted = ", ".join(path.path for path in paths)
    for at, path in enumerate(paths):
        found = columns[places[at]]
        if not is_key(found, events, paths, at):
            raise InvalidProjection(
                f"{name}: select: expected {path.path} (as events.c.key, or as it is) for the key "
                f"column {path.column.name!r}, got another expression: a row stands for one key"
            )
    for element in visitors.iterate(select):
        if isinstance(element, Over):
            parts = _listed(element.partition_by)
            if not _covers(parts, events, paths):
                raise InvalidProjection(
                    f"{name}: select: expected window functions with PARTITION BY the key "
                    f"({wanted}): only the events of the same key may be looked at"
                )
        grouped = element._group_by_clauses if isinstance(element, Select) else ()
        if grouped and not _covers(grouped, events, paths):
            raise InvalidProjection(
                f"{name}: select: expected GROUP BY the key ({wanted}) wherever events are "
                "grouped: only the events of the same key may be looked at"
            )
    groups = select._group_by_clauses
    if groups and any(not _is_part(one, events, paths) for one in groups):
        raise InvalidProjection(
            f"{name}: select: expected GROUP BY the key alone ({wanted}): a key has one row"
        )


def _listed(clause: Any) -> list[Any]:
    return list(getattr(clause, "clauses", [clause])) if clause is not None else []


def _covers(found: Sequence[Any], events: Subquery, paths: Sequence[KeyPart]) -> bool:
    return all(any(is_key(one, events, paths, at) for one in found) for at in range(len(paths)))


def _is_part(found: Any, events: Subquery, paths: Sequence[KeyPart]) -> bool:
    return any(is_key(found, events, paths, at) for at in range(len(paths)))


def types_of(select: Select[Any], events: Subquery) -> list[str] | None:
    """The event types that a plain select reads, as its WHERE says; None when it does not say."""
    if list(select.get_final_froms()) != [events]:
        return None
    if sum(1 for one in visitors.iterate(select) if isinstance(one, Select)) > 2:
        return None  # the relation is read by another select, too
    for condition in select._where_criteria:
        if not isinstance(condition, BinaryExpression) or not isinstance(
            condition.right, BindParameter
        ):
            continue
        name = getattr(condition.operator, "__name__", "")
        if name in ("eq", "in_op") and is_column(condition.left, events, "type"):
            value: Any = condition.right.value
            named = [value] if isinstance(value, str) else list(value)
            return sorted({str(one) for one in named})
    return None


def columns_used(select: Select[Any], events: Subquery) -> set[str]:
    """Which columns of events it looks at."""
    return {
        str(column.name)
        for element in visitors.iterate(select)
        if isinstance(element, ColumnElement)
        for column in events.c
        if element is column
    }
