"""What the parts of a predicate come to for one event, and the steps that it may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from refold.event import Event

MAX_STEPS = 1_000_000
"""Steps for one event: each comparison or computation in a macro is one, and more with the size
of its operands (64 characters, or one item of a list, are a step)."""

MAX_NESTED = 100
"""How deep a value's lists and maps may be in one another. The library goes into them by calling
itself, and a stack that is too small would end the process."""

# What stands outside macros is at most as much as a predicate is long, and a step of it that is
# no larger than this is not counted.
_FREE = 10_000


class Missing:
    """A field that is not there: neither true nor false, as SQL's NULL."""


MISSING = Missing()


@dataclass(frozen=True)
class Fault:
    """Something that cannot be worked out, and why."""

    reason: str


TOO_MUCH = Fault(f"it takes more than {MAX_STEPS:,} steps for this event")
TOO_DEEP = Fault(f"a value is nested more than {MAX_NESTED} deep")


@dataclass
class Run:
    """One event being decided: the variables of macros, and the steps that are left."""

    event: Event
    variables: dict[str, Any] = field(default_factory=dict)
    steps: int = MAX_STEPS
    inside: int = 0

    @property
    def enough(self) -> int:
        """A size of which no more need be counted: it cannot be afforded."""
        return max(self.steps, _FREE)

    def affords(self, steps: int) -> bool:
        """Takes steps off what is left; False if there are not so many."""
        if self.inside == 0 and steps <= _FREE:
            return True
        self.steps -= steps
        return self.steps >= 0


Step = Callable[[Run], Any]
"""Gives a value, `MISSING`, or a `Fault`."""


def truth(value: Any) -> Any:
    """The value if it can stand for true or false, or else a fault."""
    if isinstance(value, (bool, Missing, Fault)):
        return value
    return Fault(f"expected true or false, got {kind(value)}")


def worse(one: Any, other: Any) -> Any:
    """A fault counts more than what is missing, and that more than what is known."""
    if isinstance(one, Fault) or isinstance(other, bool):
        return one
    return other if isinstance(other, Fault) or isinstance(one, bool) else one


def as_floats(value: Any) -> Any:
    """A value with floats for numbers that CEL has no exact type for, as SQL compares them."""
    if isinstance(value, Decimal) or (type(value) is int and not -(2**63) <= value < 2**64):
        return float(value)
    if isinstance(value, dict):
        return {name: as_floats(inner) for name, inner in value.items()}
    return [as_floats(inner) for inner in value] if isinstance(value, list) else value


def weight(value: Any, enough: int) -> int | None:
    """How large a value is, in steps, counted until it is more than enough.

    None if it is lists and maps in one another more than `MAX_NESTED` deep.
    """
    if isinstance(value, (str, bytes)):
        return len(value) // 64
    if not isinstance(value, (list, dict)):
        return 0
    total, depth, level = 0, 0, [value]
    while level and total <= enough:
        nested = [one for one in level if isinstance(one, (list, dict))]
        depth += bool(nested)
        if depth > MAX_NESTED:
            return None
        total += sum(len(one) // 64 for one in level if isinstance(one, (str, bytes)))
        level = []
        for one in nested:
            total += len(one)
            if isinstance(one, dict):
                total += sum(map(len, one)) // 64
            if total > enough:
                break
            level.extend(one.values() if isinstance(one, dict) else one)
    return total


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "a boolean"),
    ((int, float, Decimal), "a number"),
    (str, "a text"),
    (list, "a list"),
    (dict, "a map"),
    (datetime, "a time"),
    (timedelta, "a duration"),
    (bytes, "bytes"),
    (type(None), "null"),
)


def kind(value: Any) -> str:
    """What a value is, for people."""
    name = next((name for kind, name in _KINDS if isinstance(value, kind)), "something else")
    short = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 40)
    return f"{name} ({value!r})" if short else name
