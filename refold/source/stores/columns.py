"""Tables of event stores, in few words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from refold.errors import ConfigurationError

KINDS: dict[str, Any] = {
    "bigint": BigInteger,
    "boolean": Boolean,
    "bytea": LargeBinary,
    "json": JSON,
    "jsonb": JSONB,
    "text": Text,
    "timestamp": DateTime,
    "timestamptz": DateTime(timezone=True),
    "uuid": Uuid,
}


def described(schema: str, name: str, /, **columns: str) -> Table:
    """A table of these columns, by name and type; a type that ends in ``?`` may be NULL.

    Raises:
        ConfigurationError: There is no such type here.
    """
    made = []
    for column, kind in columns.items():
        known = KINDS.get(kind.rstrip("?"))
        if known is None:
            raise ConfigurationError(
                f"{name}.{column}: expected one of {', '.join(KINDS)}, got {kind!r}"
            )
        made.append(Column(column, known, nullable=kind.endswith("?")))
    return Table(name, MetaData(), *made, schema=schema)
