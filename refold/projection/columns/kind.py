"""What Refold knows of a column's type: what is stored for a value, and how it travels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.types import TypeEngine

Settle = Callable[[Any], Any]


class WrongValue(ValueError):
    """A value that its column cannot hold."""


def wrong(name: str, expected: str, value: Any) -> WrongValue:
    """The error for a value of the column `name`, which expects something else."""
    try:
        shown = f" {value!r:.80}"
    except Exception:  # an integer of thousands of digits, or a value's own
        shown = " that cannot be shown"
    return WrongValue(f"column {name!r}: expected {expected}, got {type(value).__name__}{shown}")


def same(value: Any) -> Any:
    """The value itself."""
    return value


@dataclass(frozen=True)
class Kind:
    """The values of one column; None is left to others unless it says so.

    Attributes:
        settle: Makes the stored value of a handler's, or raises `WrongValue`. A stored value stays
            as it is.
        base: The type as which SQLAlchemy and the driver write and read it.
        bind: Makes of a stored value what `base` takes.
        freeze: Makes JSON of a stored value, exactly.
        thaw: Makes the stored value of that JSON.
        mutable: Whether a stored value can change in a handler's hands and still be the same
            object.
        read: Makes the stored value of what `base` gives; None where it is that already.
        takes_none: Whether None is for `settle` to judge, too.
    """

    settle: Settle
    base: TypeEngine[Any]
    bind: Callable[[Any], Any] = same
    freeze: Callable[[Any], Any] = same
    thaw: Callable[[Any], Any] = same
    mutable: bool = False
    read: Callable[[Any], Any] | None = None
    takes_none: bool = False


def exactly(name: str, python_type: type) -> Settle:
    """Takes values of just that type, and keeps them."""

    def settle(value: Any) -> Any:
        if type(value) is python_type:
            return value
        raise wrong(name, python_type.__name__, value)

    return settle
