"""What a table consists of besides its rows: each thing with a definition that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.generations import Built
from refold.store.tables.read_models import quoted

CONSTRAINT, INDEX, DEFAULT, NOT_NULL = "constraint", "index", "default", "not null"
KEY, TYPE = "primary key", "type"


class Thing(NamedTuple):
    """One thing of a table: its kind, and its name or its column's."""

    kind: str
    name: str

    def __str__(self) -> str:
        between = "of " if self.kind in (DEFAULT, NOT_NULL) else ""
        return f"{self.kind} {between}{quoted(self.name)}"


Definitions = Mapping[Thing, str]


# A table's own name is left out of definitions: then those of two tables can be compared.
ITSELF = "<itself>"

_DEFINITIONS = text(
    f"""
    WITH t AS (SELECT oid, oid::regclass::text AS name FROM pg_class
               WHERE oid = to_regclass(:name))
    SELECT CASE contype WHEN 'p' THEN '{KEY}' ELSE '{CONSTRAINT}' END AS kind, conname AS name,
           CASE WHEN confrelid = conrelid
                THEN replace(pg_get_constraintdef(c.oid), 'REFERENCES ' || t.name || '(',
                             'REFERENCES {ITSELF}(')
                ELSE pg_get_constraintdef(c.oid) END AS definition
    FROM pg_constraint c JOIN t ON conrelid = t.oid WHERE contype IN ('c', 'u', 'x', 'f', 'p')
    UNION ALL
    SELECT '{INDEX}', i.relname,
           CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END
           || substr(d.definition, strpos(d.definition, p.place) + length(p.place))
    FROM pg_index x JOIN t ON indrelid = t.oid JOIN pg_class i ON i.oid = indexrelid,
    LATERAL (SELECT pg_get_indexdef(i.oid)) AS d (definition),
    LATERAL (SELECT ' ON ' || t.name || ' USING ') AS p (place)
    WHERE indisvalid AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid
                                     AND conrelid = t.oid)
    UNION ALL
    SELECT '{DEFAULT}', attname, pg_get_expr(adbin, adrelid)
    FROM t JOIN pg_attribute ON attrelid = t.oid
    JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attgenerated = ''
    UNION ALL
    SELECT '{NOT_NULL}', attname,
           coalesce(quote_ident(conname) || ' ' || pg_get_constraintdef(c.oid), '')
    FROM t JOIN pg_attribute a ON attrelid = t.oid
    LEFT JOIN pg_constraint c ON conrelid = t.oid AND contype = 'n' AND conkey = ARRAY[attnum]
    WHERE attnotnull AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT '{TYPE}', attname, format_type(atttypid, atttypmod)
           || CASE WHEN attcollation <> typcollation THEN ' COLLATE ' || attcollation::regcollation
              ELSE '' END
    FROM t JOIN pg_attribute ON attrelid = t.oid JOIN pg_type y ON y.oid = atttypid
    WHERE attnum > 0 AND NOT attisdropped
    ORDER BY 1, 2
    """
)


async def definitions(connection: AsyncConnection, name: str) -> Definitions:
    """All that `difference` compares of a table; empty when there is no such table.

    Args:
        connection: In a transaction with an empty ``search_path``, so that definitions name the
            schema of everything.
        name: The table, quoted.
    """
    found = await connection.execute(_DEFINITIONS, {"name": name})
    return {Thing(row.kind, row.name): row.definition for row in found}


def recorded(built: Built | None, found: Definitions) -> Definitions:
    """What a table was built with, as far as it was recorded.

    Args:
        built: What was recorded; None when nothing was: then nothing counts as done by hand.
        found: What the table has now.
    """
    if built is None:
        return found
    if "definitions" in built:
        return {
            Thing(kind, name): said
            for kind, named in built["definitions"].items()
            for name, said in named.items()
        }
    return {t: s for t, s in found.items() if t.name in built["names"] or t.kind in _UNNAMED}


_UNNAMED = (DEFAULT, NOT_NULL, TYPE)


def recordable(found: Definitions) -> dict[str, dict[str, str]]:
    """The definitions by kind and name, as JSON can hold them."""
    by_kind: dict[str, dict[str, str]] = {}
    for thing, said in found.items():
        by_kind.setdefault(thing.kind, {})[thing.name] = said
    return by_kind
