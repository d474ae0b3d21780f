"""Which fields of events a function reads that is given many at once, found in its source code.

As in `refold.projection.narrowed.reads`, what is found is never too little.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from types import FunctionType
from typing import Any

from refold.projection.narrowed.reads import ALL, OutOfSight, Search, Uses, names_bound, parameters
from refold.projection.narrowed.source_code import node_of


def fields_read_of_each(function: Callable[..., Any], place: int = 1) -> frozenset[str]:
    """The fields that a function may read of the events of a sequence that it is given.

    These are seen: ``for event in events`` as a loop or a comprehension, ``events[0]`` and
    ``events[-1]`` by a literal, also assigned to a name, and ``len(events)``.

    Args:
        function: A plain function.
        place: Which of its arguments, from 0, is the sequence.
    """
    try:
        return frozenset(_read_by(function, place))
    except OutOfSight:
        return ALL


def _read_by(function: Callable[..., Any], place: int) -> set[str]:
    if not isinstance(function, FunctionType) or place >= function.__code__.co_argcount:
        raise OutOfSight
    node = node_of(function)
    if node is None or isinstance(node, ast.Lambda):
        raise OutOfSight
    name, own = function.__code__.co_varnames[place], parameters(node)
    made = Counter(one for part in node.body for one in names_bound(part))
    events = Counter(one for part in node.body for one in _bound_to_events(part, name))
    # A name that is bound to anything else, too, is out of sight.
    if name in made or "len" in made or "len" in own or events.keys() & own:
        raise OutOfSight
    if any(made[one] != count for one, count in events.items()):
        raise OutOfSight
    search = Search()
    uses = _UsesOfEach(search, function, name, {*events}, {*made, *own})
    for part in node.body:
        uses.visit(part)
    return search.read


def _bound_to_events(part: ast.AST, sequence: str) -> list[str]:
    """The names that are bound to an event of the sequence, once for each place."""
    found = []
    for node in ast.walk(part):
        match node:
            case ast.For(target=ast.Name(id=name), iter=iterated) if _is(iterated, sequence):
                found.append(name)
            case ast.comprehension(target=ast.Name(id=name), iter=iterated, is_async=0) if _is(
                iterated, sequence
            ):
                found.append(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_one(value, sequence):
                found.append(name)
    return found


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_one(node: ast.expr, sequence: str) -> bool:
    """Whether it is one event of the sequence, by a literal number."""
    if not isinstance(node, ast.Subscript) or not _is(node.value, sequence):
        return False
    index = node.slice
    if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
        index = index.operand
    return isinstance(index, ast.Constant) and type(index.value) is int


class _UsesOfEach(Uses, ast.NodeVisitor):
    """What one function does with the events of the sequence that is its parameter."""

    def __init__(
        self,
        search: Search,
        function: FunctionType,
        sequence: str,
        events: set[str],
        own: set[str],
    ) -> None:
        super().__init__(search, function, sequence, own)
        self._sequence = sequence
        self._events = events

    def is_event(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._events
        return _is_one(node, self._sequence)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._events:
            raise OutOfSight
        super().visit_Name(node)

    def visit_For(self, node: ast.For) -> None:
        if not _is(node.iter, self._sequence):
            self.generic_visit(node)
            return
        if not isinstance(node.target, ast.Name):
            raise OutOfSight
        for part in (*node.body, *node.orelse):
            self.visit(part)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        if not _is(node.iter, self._sequence):
            self.generic_visit(node)
            return
        if not isinstance(node.target, ast.Name) or node.is_async:
            raise OutOfSight
        for condition in node.ifs:
            self.visit(condition)

    def visit_Assign(self, node: ast.Assign) -> None:
        to_name = len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        if not (to_name and _is_one(node.value, self._sequence)):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[only], keywords=[]) if _is(
                only, self._sequence
            ):
                if "len" in self._function.__globals__:
                    raise OutOfSight
            case _:
                super().visit_Call(node)
