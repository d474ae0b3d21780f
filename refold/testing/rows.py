"""Rows beside rows: where they differ, in words."""

from __future__ import annotations

from collections.abc import Mapping

from refold.projection.declaration import Row
from refold.projection.key import Key

_SHOWN = 5


def differences(
    one: Mapping[Key, Row], other: Mapping[Key, Row], called: str, other_called: str
) -> str:
    """The rows that differ, a few of them, with what each side is called; empty if none does."""
    lines = []
    for key in dict.fromkeys([*one, *other]):
        row, another = one.get(key), other.get(key)
        if not alike(row, another):
            lines.append(f"  {key!r}: {called} {_text(row)}, {other_called} {_text(another)}")
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"  and {len(lines) - _SHOWN} more"]
    return "\n".join(lines)


def alike(row: Row | None, other: Row | None) -> bool:
    """Whether two settled rows are the same; NaN is the same as NaN."""
    return row == other or (
        row is not None
        and other is not None
        and row.keys() == other.keys()
        and all(
            value == other[name] or repr(value) == repr(other[name]) for name, value in row.items()
        )
    )


def _text(row: Row | None) -> str:
    return "no row" if row is None else repr(row)
