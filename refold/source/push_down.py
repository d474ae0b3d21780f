"""What PostgreSQL can decide of a predicate, so that fewer events are read.

What is pushed down gives the same answer in SQL as in Python for every event. A missing field is
SQL's NULL, texts are compared by code point, and numbers as the floats that they are read as.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from math import nextafter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Numeric,
    String,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from refold.predicates import Predicate
from refold.predicates import syntax as cel
from refold.predicates.cel import constant
from refold.predicates.syntax import Node, path_of
from refold.source.port.current import event_source, events

Condition = ColumnElement[bool]

_COMPARE: dict[str, Callable[[Any, Any], Condition]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TESTS: dict[str, Callable[[Any, str], Condition]] = {
    "startsWith": lambda text, part: text.startswith(part, autoescape=True),
    "endsWith": lambda text, part: text.endswith(part, autoescape=True),
    "contains": lambda text, part: text.contains(part, autoescape=True),
}
# Beyond these bounds, several numbers may be compared as the same float.
_MOST_EXACT = 2**53
_LEAST_EXACT = 1e-9
_DIGITS = Context(prec=1200)


@dataclass(frozen=True)
class PushedDown:
    """Conditions over events that every event which a predicate means fulfils.

    Attributes:
        conditions: All must be true. Every event that matches, or for which the predicate raises,
            fulfils them.
        exact: Whether every event that fulfils them matches; otherwise the predicate must still
            judge each.
    """

    conditions: list[Condition]
    exact: bool


def pushed_down(predicate: Predicate) -> PushedDown:
    """What SQL can decide of a predicate's conjuncts."""
    conditions: list[Condition] = []
    exact = True
    for conjunct in predicate.conjuncts:
        condition = _exact(conjunct)
        if condition is None:
            exact = False
            condition = _narrowed(conjunct)
        if condition is not None:
            conditions.append(condition)
    return PushedDown(conditions, exact)


def _exact(node: Node) -> Condition | None:
    """SQL with the same answer: true, false, or NULL for missing; None if there is no such SQL."""
    match node:
        case cel.Literal(value=bool() as value):
            return true() if value else false()
        case cel.Not():
            inner = _exact(node.operand)
            return None if inner is None else not_(inner)
        case cel.All() | cel.Any():
            found = [_exact(operand) for operand in node.operands]
            together = and_ if isinstance(node, cel.All) else or_
            known = [condition for condition in found if condition is not None]
            return together(*known) if len(known) == len(found) else None
        case cel.Has():
            return _has(node.operand)
        case cel.Binary() | cel.Call():
            return _json_test(node) if _column_of(node) is None else _column_test(node)
    return None


# -- the event's own fields --------------------------------------------------------------------


def _sides(node: cel.Binary) -> tuple[Node, str, Node] | None:
    """What is compared, how, and the constant it is compared with."""
    for left, operator, right in (
        (node.left, node.operator, node.right),
        (node.right, _MIRRORED.get(node.operator), node.left),
    ):
        if operator is not None and path_of(left) is not None and path_of(right) is None:
            return left, operator, right
    return None


def _column_of(node: cel.Binary | cel.Call) -> ColumnElement[Any] | None:
    sides = _sides(node) if isinstance(node, cel.Binary) else None
    subject = node.target if isinstance(node, cel.Call) else sides[0] if sides else None
    path = None if subject is None else path_of(subject)
    if path is None or path[0] != "event" or path[1][0] in ("data", "metadata"):
        return None
    column: ColumnElement[Any] = events().c[str(path[1][0])]
    # In Python each stream is a text, and each event has a time.
    alike = {"stream_id": isinstance(column.type, String), "recorded_at": event_source().has_times}
    return column if alike.get(str(path[1][0]), True) else None


def _column_test(node: cel.Binary | cel.Call) -> Condition | None:
    column = _column_of(node)
    assert column is not None
    # Types are compared as they are stored: their prefix is put before constants.
    prefix = event_source().type_prefix if column.key == "type" else ""
    is_text = isinstance(column.type, String)
    if is_text:
        column = column.collate("C")
    if isinstance(node, cel.Call):
        part = _text(node.arguments[0]) if node.arguments else None
        test = _TESTS.get(node.name)
        if not is_text or test is None or part is None or (prefix and node.name != "startsWith"):
            return None
        return test(column, prefix + part)
    sides = _sides(node)
    assert sides is not None
    _, operator, other = sides
    if operator == "in":
        items = other.items if isinstance(other, cel.ListOf) else ()
        values = [_typed(column, item, prefix) for item in items]
        known = [value for value in values if value is not None]
        if not items or len(known) != len(items):
            return None
        return or_(*[column == value for value in known])
    value = _typed(column, other, prefix)
    return None if value is None else _COMPARE[operator](column, value)


def _typed(column: ColumnElement[Any], node: Node, prefix: str) -> ColumnElement[Any] | None:
    """A constant of a column's type; None if the node is anything else."""
    if isinstance(column.type, String):
        text = _text(node)
        return None if text is None else literal(prefix + text)
    if isinstance(column.type, DateTime):
        time = _time(node)
        return None if time is None else literal(time, DateTime(timezone=True))
    whole = isinstance(node, cel.Literal) and type(node.value) is int
    if not whole or not -(2**63) <= node.value < 2**63:  # type: ignore[attr-defined]
        return None
    return literal(node.value, BigInteger)  # type: ignore[attr-defined]


def _text(node: Node) -> str | None:
    """A constant text that PostgreSQL can hold."""
    found = node.value if isinstance(node, cel.Literal) else None
    return found if isinstance(found, str) and "\0" not in found else None


def _time(node: Node) -> datetime | None:
    """A constant time, if it is no finer than a microsecond: the library knows nanoseconds."""
    if not isinstance(node, cel.Call) or node.name != "timestamp":
        return None
    written = _text(node.arguments[0])
    fraction = (written or "").partition(".")[2].rstrip("Zz")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    if written is None or digits > 6:
        return None
    found = constant(f"timestamp({node.arguments[0].text})")  # type: ignore[attr-defined]
    return found if isinstance(found, datetime) else None


# -- fields of data and metadata ---------------------------------------------------------------


def _json(node: Node) -> ColumnElement[Any] | None:
    """The JSON at a path of names; NULL where Python finds it missing."""
    path = path_of(node)
    if path is None or path[0] != "event" or path[1][0] not in ("data", "metadata"):
        return None
    root, *steps = path[1]
    if root == "data" and not event_source().sees_data:
        return None
    value: ColumnElement[Any] = events().c[str(root)]
    for step in steps:
        # An item's number is not pushed down: the operator -> takes a scalar for a list of one.
        if not isinstance(step, str) or "\0" in step:
            return None
        value = value.op("->", return_type=JSONB())(literal(step, String))
    return value


def _json_test(node: cel.Binary | cel.Call) -> Condition | None:
    sides = _sides(node) if isinstance(node, cel.Binary) else None
    if sides is None:
        return None
    subject, operator, other = sides
    value = _json(subject)
    if value is None:
        return None
    if operator == "in":
        items = other.items if isinstance(other, cel.ListOf) else ()
        found = [_equals(value, item) for item in items]
        known = [condition for condition in found if condition is not None]
        return or_(*known) if items and len(known) == len(items) else None
    equal = _equals(value, other) if operator in ("==", "!=") else None
    return not_(equal) if equal is not None and operator == "!=" else equal


def _equals(value: ColumnElement[Any], node: Node) -> Condition | None:
    if not isinstance(node, cel.Literal):
        return None
    wanted = node.value
    if wanted is None or isinstance(wanted, bool):
        written = {None: "null", True: "true", False: "false"}[wanted]
        return value == literal_column(f"'{written}'::jsonb")
    if isinstance(wanted, (int, float)):
        bounds = _rounded_to(wanted)
        if bounds is None:
            return None
        return _within(value, *bounds)
    text = _text(node)
    if text is None:
        return None
    return and_(_type(value) == "string", _astext(value).collate("C") == text)


def _within(value: ColumnElement[Any], low: Decimal, high: Decimal, inclusive: bool) -> Condition:
    """Whether it is a number within bounds; NULL only if it is missing."""
    number = cast(_astext(value), Numeric)
    least, most = literal(low, Numeric), literal(high, Numeric)
    inside = (
        and_(number >= least, number <= most) if inclusive else and_(number > least, number < most)
    )
    # Only CASE keeps the cast away from text that is no number.
    return case((_type(value) == "number", inside), (value.is_not(None), false()))


def _rounded_to(wanted: int | float) -> tuple[Decimal, Decimal, bool] | None:
    """The bounds of the numbers that are read as this float, and whether the bounds are, too."""
    number = float(wanted)
    size = abs(number)
    if number != wanted or size >= _MOST_EXACT or (size < _LEAST_EXACT and size != 0):
        return None
    below, here, above = (
        Fraction(x) for x in (nextafter(number, -1e300), number, nextafter(number, 1e300))
    )
    # A number halfway between two floats becomes the one whose last bit is 0.
    even = number == 0 or number.hex().partition("p")[0][-1] in "02468ace"
    return _decimal((below + here) / 2), _decimal((here + above) / 2), even


def _decimal(value: Fraction) -> Decimal:
    """Exact: all of a float's digits, and those of half its last bit."""
    return _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))


def _has(node: cel.Select) -> Condition | None:
    path = path_of(node)
    if path is not None and path[0] == "event" and len(path[1]) == 1:
        return true()
    value = _json(node)
    return None if value is None else value.is_not(None)


def _type(value: ColumnElement[Any]) -> ColumnElement[str]:
    return func.jsonb_typeof(value)


def _astext(value: ColumnElement[Any]) -> ColumnElement[str]:
    text: ColumnElement[str] = value.op("#>>", return_type=String())(literal_column("'{}'::text[]"))
    return text


# -- what at least narrows the selection -------------------------------------------------------


def _narrowed(node: Node) -> Condition | None:
    """True wherever the part is true or raises; NULL only where it is missing."""
    if isinstance(node, cel.Binary):
        sides = _sides(node)
        return None if sides is None else _narrow_order(*sides)
    if isinstance(node, cel.Call):
        value = None if node.target is None else _json(node.target)
        part = _text(node.arguments[0]) if node.arguments else None
        test = _TESTS.get(node.name)
        if value is None or part is None or test is None:
            return None
        return or_(_type(value) != "string", test(_astext(value).collate("C"), part))
    value = _json(node)
    return None if value is None else value != literal_column("'false'::jsonb")


def _narrow_order(subject: Node, operator: str, other: Node) -> Condition | None:
    value = _json(subject)
    if (
        value is None
        or operator not in ("<", "<=", ">", ">=")
        or not isinstance(other, cel.Literal)
    ):
        return None
    compare = _COMPARE[operator]
    text = _text(other)
    if text is not None:
        return or_(_type(value) != "string", compare(_astext(value).collate("C"), text))
    wanted = other.value
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)):
        return None
    bounds = _rounded_to(wanted)
    if bounds is None:
        return None
    # A number that is a little less may be read as this float.
    limit = literal(bounds[0] if operator == ">=" else bounds[1], Numeric)
    if operator in ("<", ">"):
        limit = literal(Decimal(wanted), Numeric)
    number = cast(_astext(value), Numeric)
    return case((_type(value) == "number", compare(number, limit)), (value.is_not(None), true()))
