"""What is refused before any event is seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from refold.errors.words import meant
from refold.predicates.places import refusal
from refold.predicates.syntax import (
    All,
    Any,
    Binary,
    Call,
    Conditional,
    Has,
    Index,
    ListOf,
    Literal,
    Macro,
    MapOf,
    Name,
    Negative,
    Node,
    Not,
    Select,
    path_of,
    walk,
)

MAX_LENGTH = 4_000
"""Characters of a predicate."""

MAX_MACROS = 2
"""How many macros may be in one another: one may stand in the body of another, no more."""

MAX_PATTERNS = 10_000
"""What the patterns of all matches(…) may cost together, in steps; see `pattern_cost`."""

FIELDS = ("type", "stream_id", "position", "version", "data", "metadata", "recorded_at")

_TIMES = [f"get{part}" for part in ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek")]
_TIMES += [f"get{part}" for part in ("DayOfYear", "Hours", "Minutes", "Seconds", "Milliseconds")]

# How many arguments each takes, the target of target.name(…) among them.
_FUNCTIONS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("bytes", "double", "duration", "int", "string", "timestamp", "uint"), (1,)),
    "size": (1,),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "matches"), (2,)),
    **dict.fromkeys(_TIMES, (1,)),
}
_METHODS = {"size", "contains", "startsWith", "endsWith", "matches", *_TIMES}
_TESTS = {"contains", "startsWith", "endsWith", "matches"}
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">=", "in"}
_BOOLEAN_MACROS = {"all", "exists", "exists_one"}

_REPEATED = re.compile(r"\{[0-9]*,?([0-9]+)?\}")
_WIDE = re.compile(r"\\[A-Za-z]|\[\^|\.|\(\?")


def pattern_cost(pattern: str) -> int:
    """What making a pattern ready costs, in steps of about a microsecond.

    The library does so each time anew: a class such as ``\\w`` is thousands of characters, and a
    counted repetition repeats it. From above, as nested repetitions multiply.
    """
    times = 1
    for counted in re.findall(r"\{([^}]*)\}", pattern):
        numbers = [int(number[:6]) for number in re.findall(r"[0-9]+", counted)]
        times = min(times * max([1, *numbers]), 10**9)
    return 10 + (len(pattern) + 200 * len(_WIDE.findall(pattern))) * times


def check(text: str, root: Node, evaluate: Callable[[str], object]) -> None:
    """Refuses what can be known to be wrong or too much.

    Args:
        text: The predicate.
        root: Its parts.
        evaluate: Works out an expression without variables; raises for one that cannot be.

    Raises:
        InvalidRequest: With the place.
    """
    checks = _Checks(text, evaluate)
    checks.node(root, frozenset(), 0)
    checks.boolean(root)
    patterns = [n for n in walk(root) if isinstance(n, Call) and n.name == "matches"]
    costs = [pattern_cost(_pattern(call) or "") for call in patterns]
    if sum(costs) > MAX_PATTERNS:
        worst = patterns[costs.index(max(costs))]
        bound = f"patterns that cost at most {MAX_PATTERNS} together"
        checks.refuse(worst, f"its patterns cost {sum(costs)}", bound)


class _Checks:
    def __init__(self, text: str, evaluate: Callable[[str], object]) -> None:
        self._text = text
        self._evaluate = evaluate

    def refuse(self, node: Node, reason: str, expected: str | None = None) -> NoReturn:
        got = self._text[node.at : node.end]
        raise refusal(self._text, node.at, reason, got, expected)

    def node(self, node: Node, variables: frozenset[str], macros: int) -> None:
        path = path_of(node)
        if path is not None:
            self._path(node, *path, variables)
            return
        match node:
            case Call():
                self._call(node)
            case Macro():
                self._macro(node, variables, macros)
                return
            case Not() | All() | Any():
                for operand in node.parts():
                    self.boolean(operand)
            case Conditional():
                self.boolean(node.condition)
        for part in node.parts():
            self.node(part, variables, macros)

    def _path(
        self, node: Node, name: str, steps: tuple[str | int, ...], variables: frozenset[str]
    ) -> None:
        if name in variables:
            return
        known = ", ".join(f"event.{field}" for field in FIELDS)
        if name != "event":
            near = meant(name, ["event"])
            self.refuse(node, f"no variable {name!r}{near}", f"one of ({known})")
        # The field itself is written with a dot, as it is a name and no text.
        inner: Node = node
        while isinstance(inner, (Select, Index)) and not isinstance(inner.operand, Name):
            inner = inner.operand
        if not isinstance(inner, Select) or inner.field not in FIELDS:
            near = meant(inner.field, FIELDS) if isinstance(inner, Select) else ""
            self.refuse(inner, f"no field of an event{near}", f"one of ({known})")
        if len(steps) > 1 and inner.field not in ("data", "metadata"):
            self.refuse(node, f"event.{inner.field} has no fields of its own")

    def _call(self, node: Call) -> None:
        name, given = node.name, len(node.parts())
        if name not in _FUNCTIONS:
            known = ", ".join(sorted([*_FUNCTIONS, "has", "all", "exists", "exists_one", "filter"]))
            near = meant(name, _FUNCTIONS)
            self.refuse(node, f"no function {name!r}{near}", f"one of ({known}, map)")
        method = node.target is not None
        # size is both.
        if given not in _FUNCTIONS[name] or (method != (name in _METHODS) and name != "size"):
            arguments = "pattern" if name == "matches" else "text" if name in _TESTS else ""
            usage = f"value.{name}({arguments})" if name in _METHODS else f"{name}(value)"
            self.refuse(node, f"{name} is used otherwise", usage)
        pattern, constant = _pattern(node), node.parts()[-1]
        if name == "matches" and pattern is None:
            self.refuse(constant, "a pattern must be written out", 'value.matches("pattern")')
        if name in ("matches", "timestamp", "duration") and isinstance(constant, Literal):
            tried = f"{name}({constant.text})" if name != "matches" else f'"".{_pattern_call(node)}'
            try:
                self._evaluate(tried)
            except Exception:
                self.refuse(constant, f"{name} cannot take this", _USAGE[name])

    def _macro(self, node: Macro, variables: frozenset[str], macros: int) -> None:
        if macros >= MAX_MACROS:
            bound = f"at most {MAX_MACROS} macros in one another"
            self.refuse(node, "too many macros in one another", bound)
        if node.variable == "event":
            self.refuse(node, "a macro's variable hides event", "another name")
        self.node(node.range, variables, macros)
        inner = variables | {node.variable}
        for part in node.parts()[1:]:
            self.node(part, inner, macros + 1)
        if node.name != "map":
            self.boolean(node.body)
        if node.condition is not None:
            self.boolean(node.condition)

    def boolean(self, node: Node) -> None:
        """Refuses what is never true or false, as far as that can be known without an event."""
        other = _never_boolean(node)
        if other is not None:
            self.refuse(other, "neither true nor false")


_USAGE = {
    "matches": 'a pattern such as "^[A-Z]+-[0-9]+$"',
    "timestamp": 'timestamp("2025-01-31T00:00:00Z")',
    "duration": 'duration("36h")',
}


def _pattern(call: Call) -> str | None:
    last = call.parts()[-1] if call.parts() else None
    return last.value if isinstance(last, Literal) and isinstance(last.value, str) else None


def _pattern_call(call: Call) -> str:
    last = call.parts()[-1]
    assert isinstance(last, Literal)
    return f"matches({last.text})"


def _never_boolean(node: Node) -> Node | None:  # noqa: PLR0911 (one for each kind of part)
    match node:
        case Literal(value=bool()):
            return None
        case Literal() | ListOf() | MapOf() | Negative() | Name(name="event"):
            return node
        case Binary():
            return None if node.operator in _COMPARISONS else node
        case Call():
            return None if node.name in _TESTS else node
        case Macro():
            return None if node.name in _BOOLEAN_MACROS else node
        case Conditional():
            return _never_boolean(node.yes) or _never_boolean(node.no)
        case Has() | Not() | All() | Any():
            return None
    path = path_of(node)
    known = path is not None and path[0] == "event" and len(path[1]) == 1
    return node if known else None
