"""What the library works out: comparisons, arithmetic, functions, lists and maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from refold.predicates.checks import pattern_cost
from refold.predicates.places import shortened
from refold.predicates.syntax import Binary, Call, ListOf, Literal, MapOf, Negative, Node, path_of
from refold.predicates.values import (
    TOO_DEEP,
    TOO_MUCH,
    Fault,
    Missing,
    Run,
    Step,
    as_floats,
    kind,
    weight,
)

Compile = Callable[[str], Callable[[dict[str, Any]], Any]]
"""Makes a function of its variables from an expression, with the library."""

Own = Callable[[Node], Step | None]
"""How a part is worked out that the library is not asked for; None for the others."""


def computed(text: str, node: Node, own: Own, compile_: Compile) -> Step:
    """A part of a predicate's text that the library works out from the parts that it is not."""
    sources: dict[str, str] = {}
    steps: dict[str, Step] = {}
    parts: list[Node] = []

    def written(part: Node) -> str:
        parts.append(part)
        step = own(part)
        if step is None:
            return _written(part, written)
        source = text[part.at : part.end]
        name = sources.setdefault(source, f"p{len(sources)}")
        steps[name] = step
        return name

    execute = compile_(written(node))
    fixed, times = _costs(text, parts)
    plain, longest = _compares_scalars(node), len(text)
    source = text[node.at : node.end]

    def run_it(run: Run) -> Any:
        values: dict[str, Any] = {}
        unknown: Fault | Missing | None = None
        for name, step in steps.items():
            value = step(run)
            if isinstance(value, (Fault, Missing)):
                unknown = unknown if isinstance(unknown, Fault) else value
            else:
                values[name] = _stand_in(value, longest) if plain else value
        if unknown is not None:
            return unknown
        cost = fixed
        for value in values.values():
            size = weight(value, run.enough)
            if size is None:
                return TOO_DEEP
            cost += times * size
        if not run.affords(cost):
            return TOO_MUCH
        try:
            return execute({name: as_floats(value) for name, value in values.items()})
        except Exception as error:
            told = {one: values[name] for one, name in sources.items()}
            return Fault(_reason(source, told, error))

    return run_it


def _costs(text: str, parts: Sequence[Node]) -> tuple[int, int]:
    """Steps that it takes anyway, and steps for each of its operands' sizes.

    Sums copy what they join, again and again; where an operand stands twice it is copied twice.
    """
    fixed = 1 + (max(part.end for part in parts) - min(part.at for part in parts)) // 64
    for part in parts:
        if isinstance(part, Call) and part.name == "matches":
            pattern = part.arguments[0]
            assert isinstance(pattern, Literal)
            fixed += pattern_cost(str(pattern.value))
    sums = sum(isinstance(part, Binary) and part.operator == "+" for part in parts)
    return fixed, len(parts) * (1 + sums) ** 2


def _written(part: Node, inner: Callable[[Node], str]) -> str:
    match part:
        case Literal():
            return f"({part.text})" if part.text.startswith("-") else part.text
        case Binary():
            return f"({inner(part.left)} {part.operator} {inner(part.right)})"
        case Negative():
            return f"(-({inner(part.operand)}))"
        case ListOf():
            return f"[{', '.join(map(inner, part.items))}]"
        case MapOf():
            pairs = [f"{key.text}: {inner(value)}" for key, value in part.entries]
            return f"{{{', '.join(pairs)}}}"
        case Call():
            arguments = ", ".join(map(inner, part.arguments))
            target = "" if part.target is None else f"{inner(part.target)}."
            return f"{target}{part.name}({arguments})"
    raise AssertionError(part)


def _compares_scalars(node: Node) -> bool:
    """Whether it asks if a path is one of some constants, which no list, map or long text is."""
    if not isinstance(node, Binary):
        return False
    if node.operator == "in":
        listed = node.right
        return (
            path_of(node.left) is not None
            and isinstance(listed, ListOf)
            and all(isinstance(item, Literal) for item in listed.items)
        )
    if node.operator not in ("==", "!="):
        return False
    sides = (node.left, node.right)
    one_path = any(path_of(side) is not None for side in sides)
    return one_path and any(isinstance(side, Literal) for side in sides)


def _stand_in(value: Any, longest: int) -> Any:
    """A value that differs from all constants of a text of this length, if this one does.

    What decides in SQL must decide here however large the value is.
    """
    if isinstance(value, (dict, list)):
        return {}
    if isinstance(value, str) and len(value) > longest:
        return "x" * (longest + 1)
    return value


_CAUSES: dict[type[Exception], str] = {
    ZeroDivisionError: "division by zero",
    OverflowError: "a number is too large",
}


def _reason(source: str, values: Mapping[str, Any], error: Exception) -> str:
    told = ", ".join(f"{shortened(one)} is {kind(value)}" for one, value in values.items())
    cause = _CAUSES.get(type(error), "the types or values do not fit")
    return f"{shortened(source)!r}: {cause}" + (f", as {told}" if told else "")
