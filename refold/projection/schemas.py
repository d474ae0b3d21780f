"""In which schema a read model stands: never where Refold keeps what is its own."""

from __future__ import annotations

import re

from sqlalchemy import Table

from refold.errors import InvalidProjection

DEFAULT_SCHEMA = "public"
"""Where a table stands whose declaration names no schema."""

_OF_A_GENERATION = re.compile(r"refold_[a-z0-9_]+_g[0-9]+")


def declared_schema(table: Table) -> str:
    """The schema that the table's declaration names, or the default one."""
    return table.schema or DEFAULT_SCHEMA


def is_of_refold(schema: str) -> bool:
    """Whether a schema is Refold's own: ``refold``, or that of a generation or snapshot."""
    return schema == "refold" or _OF_A_GENERATION.fullmatch(schema) is not None


def require_own_place(name: str, table: Table) -> None:
    """Checks that the table is declared where nobody else's tables are.

    Raises:
        InvalidProjection: Its schema is Refold's own, or PostgreSQL's.
    """
    schema = declared_schema(table)
    if is_of_refold(schema):
        owner = "Refold's own"
    elif schema.startswith("pg_") or schema == "information_schema":
        owner = "PostgreSQL's own"
    else:
        return
    raise InvalidProjection(
        f"{name}: table {table.fullname!r}: expected a schema of your own, {schema!r} is {owner}: "
        f"leave it out for {DEFAULT_SCHEMA!r}, or name another one"
    )
