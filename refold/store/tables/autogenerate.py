"""What Alembic's autogenerate is to leave alone: read models, and what Refold keeps beside them."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Table

from refold.projection.schemas import DEFAULT_SCHEMA, declared_schema, is_of_refold
from refold.runtime.settings import load_settings


def include_object(
    object: Any,  # noqa: A002  # Alembic's name
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: Any,
) -> bool:
    """For Alembic's ``context.configure(include_object=…)``: False for what Refold makes.

    That is the tables of read models, declared or found in the database; new tables that a run is
    building; generations that were replaced; snapshots; and Refold's own schema. Read models are
    those of the modules that REFOLD_PROJECTIONS names, which are imported once.

    Args:
        object: What Alembic looks at, such as a `sqlalchemy.Table`.
        name: Its name.
        type_: ``table``, ``column``, ``index`` and the like.
        reflected: Whether it was found in the database.
        compare_to: What it is compared with; None for nothing.

    Raises:
        ConfigurationError: A module cannot be imported.
        InvalidProjection: A declaration cannot work.
    """
    table = object if isinstance(object, Table) else getattr(object, "table", None)
    if not isinstance(table, Table):
        return True
    schema = table.schema or DEFAULT_SCHEMA
    return not is_of_refold(schema) and (schema, table.name) not in _read_models()


@cache
def _read_models() -> frozenset[tuple[str, str]]:
    registry = load_settings().registry()
    return frozenset((declared_schema(one.table), one.table.name) for one in registry)
