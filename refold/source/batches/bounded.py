"""A statement of events in order of position, whose bounds are its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam

from refold.runtime.database import DIALECT
from refold.source.port.current import events

_AFTER, _UPTO, _LIMIT = "bound_after", "bound_upto", "bound_limit"
_LAST = 2**63 - 1


@dataclass(frozen=True)
class Bounded:
    """SQL for the driver: made once, as making it takes longer than running it.

    Attributes:
        sql: The statement, with ``$n`` placeholders.
        names: Its parameters in order.
        values: Those that do not change, by name.
    """

    sql: str
    names: Sequence[str]
    values: dict[str, Any]

    @classmethod
    def of(cls, statement: Select[Any]) -> Bounded:
        """A statement of `weighed`, in order of position, with three bounds more."""
        position = events().c.position
        bounded = statement.where(
            position > bindparam(_AFTER, 0, type_=BigInteger),
            position <= bindparam(_UPTO, 0, type_=BigInteger),
        ).limit(bindparam(_LIMIT, 0, type_=BigInteger))
        made: Any = bounded.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
        names = made.positiontup or []
        return cls(str(made), names, {name: made.params[name] for name in names})

    def arguments(self, *, after: int, upto: int | None, limit: int) -> list[Any]:
        """The arguments: positions above `after`, up to `upto` (None: all), so many at most."""
        bounds = {_AFTER: after, _UPTO: _LAST if upto is None else upto, _LIMIT: limit}
        values = {**self.values, **bounds}
        return [values[name] for name in self.names]
