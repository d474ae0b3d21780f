"""Predicates in CEL, the Common Expression Language."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from refold.errors import PredicateFailed
from refold.event import Event
from refold.predicates.checks import MAX_LENGTH, check
from refold.predicates.evaluation import step_of
from refold.predicates.parser import parsed
from refold.predicates.places import refusal
from refold.predicates.syntax import All, Node
from refold.predicates.values import Fault, Missing, Run, Step, truth

_TOLD = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)")


@dataclass(frozen=True)
class Predicate:
    """A CEL expression that says of each event whether it is meant.

    Attributes:
        text: The expression as it was written.
        conjuncts: The parts that must all be true.
    """

    text: str
    conjuncts: tuple[Node, ...] = field(repr=False, compare=False)
    _steps: tuple[Step, ...] = field(repr=False, compare=False)

    def matches(self, event: Event) -> bool:
        """Whether the event is meant; not if a field that decides it is missing.

        One event takes at most `MAX_STEPS` steps, about a second, and memory in the order of the
        event. Of ``a && b && c`` one that is false or missing decides, whatever the others are.

        Raises:
            PredicateFailed: A part cannot be worked out for this event, takes too many steps, or
                is neither true nor false; and no other part decides.
        """
        run = Run(event)
        fault: Fault | None = None
        for step in self._steps:
            value = truth(step(run))
            if value is False or isinstance(value, Missing):
                return False
            if isinstance(value, Fault):
                fault = fault or value
        if fault is not None:
            raise PredicateFailed.of(self.text, event, fault.reason)
        return True


def parse_predicate(text: str) -> Predicate:
    """A predicate from its text.

    Bounds: 4,000 characters; parts at most 32 deep in one another; a macro (all, exists,
    exists_one, filter, map) in the body of another, and no third in that; patterns of matches(…)
    written out, and 10,000 steps together.

    Not for workflow code, whose sandbox cannot import the library; activities and clients can.

    Raises:
        InvalidRequest: It is no CEL expression over ``event``, beyond a bound, or can be known to
            be neither true nor false; with the line and the column.
    """
    if len(text) > MAX_LENGTH:
        bound = f"at most {MAX_LENGTH} characters"
        raise refusal(text, MAX_LENGTH, f"{len(text)} characters", text[MAX_LENGTH:], bound)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        raise refusal(text, at, "half a character (a lone surrogate)", text[at]) from None
    root = parsed(text, constant)
    check(text, root, constant)
    conjuncts = root.operands if isinstance(root, All) else (root,)
    steps = tuple(step_of(text, part, _compiled) for part in conjuncts)
    _check_with_library(text)
    return Predicate(text, conjuncts, steps)


def _check_with_library(text: str) -> None:
    """What only the library knows to refuse, such as a reserved word for a variable."""
    try:
        _compiled(text)
    except ValueError as error:
        told = _TOLD.search(str(error))
        if told is None:
            raise refusal(text, 0, "the library refuses it", text) from None
        line, column, reason = int(told[1]), int(told[2]), told[3]
        lines = text.split("\n")
        at = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
        raise refusal(text, min(at, len(text)), reason, text[at:]) from None


def constant(expression: str) -> Any:
    """What an expression without variables comes to, such as a timestamp."""
    return _compiled(expression)({})


def _compiled(expression: str) -> Callable[[dict[str, Any]], Any]:
    # Only when there is a predicate: importing it takes an eighth of a second. And never anew, as
    # in a workflow's sandbox: a second import in one process panics in its logging.
    from cel import compile as compile_cel

    return compile_cel(expression).execute
