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
    except Exception:  # an integer of thousands of digits, or the value's own `__repr__`
        shown = " that cannot be shown"
    return WrongValue(f"column {name!r}: expected {expected}, got {type(value).__name__}{shown}")


def same(value: Any) -> Any:
    """The value itself."""
    return value


@dataclass(frozen=True)
class Kind:
    """How the values of one column are handled. Callers handle None, unless `takes_none`.

    Attributes:
        settle: Turns a handler's value into the stored one, or raises `WrongValue`. A stored value
            stays as it is.
        base: The type by which SQLAlchemy and the driver write and read it.
        bind: Turns a stored value into what `base` takes.
        freeze: Turns a stored value into JSON, exactly.
        thaw: Turns that JSON back into the stored value.
        mutable: Whether a stored value can change in a handler's hands and still be the same
            object.
        read: Turns what `base` gives into the stored value; None where it is that already.
        takes_none: Whether `settle` judges None, too.
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
