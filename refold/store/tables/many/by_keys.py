"""Rows of many keys read by one statement of the driver, where no value has to be turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Numeric,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)

from refold.projection.columns.kind import Kind
from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.database import compiled_names
from refold.store.tables.many.array_text import Column, array_text_of
from refold.store.tables.many.at_once import is_exact


class ByKeys:
    """Reads rows of one table; see `by_keys_of`."""

    def __init__(self, sql: str, key: Sequence[tuple[str, Column]], names: Sequence[str]) -> None:
        self._sql = sql
        self._key = key
        self._names = names

    async def read(self, driver: asyncpg.Connection[Any], keys: Sequence[Key]) -> dict[Key, Row]:
        """The rows of these keys, at least one, by key; keys without a row are absent."""
        parts = [keys] if len(self._key) == 1 else zip(*keys, strict=True)
        arrays = [made(list(part)) for (_, made), part in zip(self._key, parts, strict=True)]
        names = self._names
        found = await driver.fetch(self._sql, *arrays)
        rows = [dict(zip(names, record, strict=True)) for record in found]
        if len(self._key) == 1:
            name = self._key[0][0]
            return {row[name]: row for row in rows}
        columns = [name for name, _ in self._key]
        return {tuple([row[name] for name in columns]): row for row in rows}


def by_keys_of(stored: Table, kinds: Mapping[str, Kind]) -> ByKeys | None:
    """What reads rows by key; None where the driver's values are not what is stored."""
    if not all(map(_is_the_drivers, kinds.values())):
        return None
    key = list(stored.primary_key.columns)
    if not all(is_exact(column.type) for column in key):
        return None
    made: list[tuple[str, Column]] = []
    arrays: list[ColumnElement[Any]] = []
    for column in key:
        as_text = array_text_of(kinds[str(column.name)])
        assert as_text is not None
        made.append((str(column.name), as_text[0]))
        sent = bindparam(f"k{len(arrays)}", type_=Text)
        arrays.append(cast(sent, ARRAY(as_text[1])))
    if len(key) == 1:
        among: ColumnElement[bool] = key[0] == any_(arrays[0])
    else:
        names = [f"k{i}" for i in range(len(key))]
        listed = func.unnest(*arrays).table_valued(*names).render_derived()
        among = tuple_(*key).in_(select(*listed.c))
    sql, order = compiled_names(select(stored).where(among))
    assert order == [f"k{i}" for i in range(len(key))], order
    return ByKeys(sql, made, list(kinds))


def _is_the_drivers(kind: Kind) -> bool:
    """Whether the driver gives just what is stored."""
    base = kind.base
    if kind.read is not None or array_text_of(kind) is None:
        return False
    return not isinstance(base, Numeric) or bool(base.asdecimal)
