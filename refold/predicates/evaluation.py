"""Deciding a predicate for one event, in a bounded number of steps.

The library compares and computes; what is missing, what is true or false, and how often a macro
goes round is decided here. Three things stand in the way of giving it whole expressions: it copies
all of a variable wherever it is named, so that a macro over a list of 10,000 takes 20 seconds; it
cannot be stopped; and to it a field that is missing is an error like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any as Anything

from refold.event import Event
from refold.predicates import syntax
from refold.predicates.computing import Compile, computed
from refold.predicates.macros import macro
from refold.predicates.syntax import Node, path_of
from refold.predicates.values import MISSING, Fault, Missing, Run, Step, kind, truth, worse


def step_of(text: str, node: Node, compile_: Compile) -> Step:
    """How a part of a predicate that has been checked is worked out."""
    return _Steps(text, compile_).of(node)


class _Steps:
    def __init__(self, text: str, compile_: Compile) -> None:
        self._text = text
        self._compile = compile_

    def of(self, node: Node) -> Step:
        made = self._own(node)
        return computed(self._text, node, self._own, self._compile) if made is None else made

    def _own(self, node: Node) -> Step | None:  # noqa: PLR0911 (one for each kind of part)
        """What is decided here; None for what the library works out."""
        path = path_of(node)
        if path is not None:
            return _path(*path)
        match node:
            case syntax.Literal(value=bool() as value):
                return lambda run: value
            case syntax.All():
                return _all([self.of(part) for part in node.operands])
            case syntax.Any():
                return _any([self.of(part) for part in node.operands])
            case syntax.Not():
                return _not(self.of(node.operand))
            case syntax.Conditional():
                return _conditional(self.of(node.condition), self.of(node.yes), self.of(node.no))
            case syntax.Has():
                return _has(self.of(node.operand))
            case syntax.Select():
                return _at(self.of(node.operand), lambda run: node.field)
            case syntax.Index():
                return _at(self.of(node.operand), self.of(node.index))
            case syntax.Macro():
                condition = None if node.condition is None else self.of(node.condition)
                return macro(node, self.of(node.range), condition, self.of(node.body))
            case syntax.Call(name="size"):
                return _size(self.of(node.parts()[0]))
        return None


# -- the parts that are decided here -----------------------------------------------------------


def _path(name: str, steps: tuple[str | int, ...]) -> Step:
    if name == "event":
        [first, *inner] = steps
        number = Event._fields.index(str(first))
        return lambda run: _follow(run.event[number], inner)
    return lambda run: _follow(run.variables[name], steps)


def _follow(value: Anything, steps: Sequence[str | int]) -> Anything:
    for step in steps:
        value = _step(value, step)
        if value is MISSING:
            return MISSING
    return value


def _step(value: Anything, step: str | int) -> Anything:
    if isinstance(step, str):
        return value.get(step, MISSING) if isinstance(value, dict) else MISSING
    if isinstance(value, list) and 0 <= step < len(value):
        return value[step]
    return MISSING


def _at(operand: Step, index: Step) -> Step:
    def run_it(run: Run) -> Anything:
        value, step = operand(run), index(run)
        for one in (value, step):
            if isinstance(one, (Fault, Missing)):
                return one
        if isinstance(step, bool) or not isinstance(step, (str, int)):
            return Fault(f"expected a number or a text in […], got {kind(step)}")
        return _step(value, step)

    return run_it


def _has(operand: Step) -> Step:
    def run_it(run: Run) -> Anything:
        value = operand(run)
        return value if isinstance(value, Fault) else value is not MISSING

    return run_it


def _size(operand: Step) -> Step:
    # Here, as the library counts a text's bytes where CEL counts its characters.
    def run_it(run: Run) -> Anything:
        value = operand(run)
        if isinstance(value, (Fault, Missing)):
            return value
        if not isinstance(value, (str, bytes, list, dict)):
            return Fault(f"expected a text, list or map for size(…), got {kind(value)}")
        return len(value)

    return run_it


def _all(steps: Sequence[Step]) -> Step:
    def run_it(run: Run) -> Anything:
        result: Anything = True
        for step in steps:
            value = truth(step(run))
            if value is False:
                return False
            result = worse(result, value)
        return result

    return run_it


def _any(steps: Sequence[Step]) -> Step:
    def run_it(run: Run) -> Anything:
        result: Anything = False
        for step in steps:
            value = truth(step(run))
            if value is True:
                return True
            result = worse(result, value)
        return result

    return run_it


def _not(step: Step) -> Step:
    def run_it(run: Run) -> Anything:
        value = truth(step(run))
        return not value if isinstance(value, bool) else value

    return run_it


def _conditional(condition: Step, yes: Step, no: Step) -> Step:
    def run_it(run: Run) -> Anything:
        value = truth(condition(run))
        if not isinstance(value, bool):
            return value
        return yes(run) if value else no(run)

    return run_it
