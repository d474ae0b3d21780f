"""Which fields of an event handlers read, found in their source code.

What is found is never too little: wherever an event goes out of sight, all of it is read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from refold.event import Event
from refold.projection.narrowed.source_code import Node, node_of

ALL = frozenset(Event._fields)
"""All fields of an event."""

# What sees a function's variables without naming them.
_SEES_ALL = frozenset({"locals", "vars", "eval", "exec", "dir", "globals", "super", "breakpoint"})
_MOST_CALLS = 50


def fields_read(handlers: Iterable[Callable[..., Any]], place: int = 1) -> frozenset[str]:
    """The fields that these handlers may read of the event that they are given.

    An event is followed through ``event.<field>``, nested functions, and calls of plain functions
    by their name.

    Args:
        handlers: Plain functions, methods, or what `functools.partial` makes of them.
        place: Which of their arguments, from 0, is the event.
    """
    read: set[str] = set()
    try:
        for handler in handlers:
            read |= _read_by(handler, place)
    except OutOfSight:
        return ALL
    return frozenset(read)


class OutOfSight(Exception):
    """The event goes where it cannot be followed."""


def _read_by(handler: Callable[..., Any], index: int) -> set[str]:
    while not isinstance(handler, FunctionType):
        if isinstance(handler, MethodType):
            index += 1
            handler = handler.__func__
        elif type(handler) is partial:
            index += len(handler.args)
            handler = handler.func
        else:
            raise OutOfSight
    search = Search()
    search.follow(handler, index)
    return search.read


class Search:
    """What is read of one event, by all functions that it is given to."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self._seen: set[tuple[FunctionType, str]] = set()

    def follow(self, function: FunctionType, place: int | str) -> None:
        """The event is given to a function, by position or by name."""
        name = _parameter(function, place)
        if (function, name) in self._seen:
            return
        self._seen.add((function, name))
        node = node_of(function)
        if node is None or len(self._seen) > _MOST_CALLS:
            raise OutOfSight
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        bound = {inner for part in body for inner in names_bound(part)}
        if name in bound:
            raise OutOfSight
        uses = Uses(self, function, name, bound | parameters(node))
        for part in body:
            uses.visit(part)


class Uses(ast.NodeVisitor):
    """What one function does with the event that is its parameter of this name."""

    def __init__(self, search: Search, function: FunctionType, name: str, own: set[str]) -> None:
        self._search = search
        self._function = function
        self._name = name
        self._own = own

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A field of the event is read; nothing else may be asked of it."""
        if not self.is_event(node.value):
            self.generic_visit(node)
        elif node.attr in ALL and isinstance(node.ctx, ast.Load):
            self._search.read.add(node.attr)
        else:
            raise OutOfSight

    def visit_Name(self, node: ast.Name) -> None:
        """The event by itself goes out of sight, and so does it where all names are seen."""
        if node.id == self._name or node.id in _SEES_ALL:
            raise OutOfSight

    def visit_Call(self, node: ast.Call) -> None:
        """The event is followed into plain functions."""
        self.visit(node.func)
        starred = False
        for number, argument in enumerate(node.args):
            starred = starred or isinstance(argument, ast.Starred)
            if self.is_event(argument) and not starred:
                self._search.follow(self._called(node.func), number)
            else:
                self.visit(argument)
        for keyword in node.keywords:
            if self.is_event(keyword.value) and keyword.arg is not None:
                self._search.follow(self._called(node.func), keyword.arg)
            else:
                self.visit(keyword.value)

    def is_event(self, node: ast.expr) -> bool:
        """Whether it is the event."""
        return isinstance(node, ast.Name) and node.id == self._name

    def _called(self, node: ast.expr) -> FunctionType:
        """The function that is called, if it is a global one or that of a function around."""
        if not isinstance(node, ast.Name) or node.id in self._own:
            raise OutOfSight
        function, found = self._function, None
        if node.id in function.__code__.co_freevars:
            cells = dict(
                zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            )
            try:
                found = cells[node.id].cell_contents
            except ValueError:  # it is not there yet
                raise OutOfSight from None
        else:
            found = function.__globals__.get(node.id)
        if not isinstance(found, FunctionType):
            raise OutOfSight
        return found


def _parameter(function: FunctionType, place: int | str) -> str:
    code = function.__code__
    count, only = code.co_argcount, code.co_kwonlyargcount
    if isinstance(place, int):
        if place >= count:  # it is one of *args
            raise OutOfSight
        return code.co_varnames[place]
    if place not in code.co_varnames[code.co_posonlyargcount : count + only]:
        raise OutOfSight
    return place


def parameters(node: Node) -> set[str]:
    """The names of a function's parameters."""
    return {inner.arg for inner in ast.walk(node.args) if isinstance(inner, ast.arg)}


def names_bound(part: ast.AST) -> Iterable[str]:
    """The names that are bound anywhere in a piece of code."""
    for node in ast.walk(part):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
            case ast.alias(name=name, asname=other):
                yield other or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
