"""The parts that a CEL expression is made of, each with its place in the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Scalar = None | bool | int | float | str | bytes


@dataclass(frozen=True)
class Node:
    """Any part: `at` and `end` (exclusive) are offsets in the text, `depth` is 1 for a leaf."""

    at: int
    end: int
    depth: int

    def parts(self) -> tuple[Node, ...]:
        """The parts directly inside this one."""
        return ()


@dataclass(frozen=True)
class Literal(Node):
    """A constant: its value, and how it is written."""

    value: Scalar
    text: str


@dataclass(frozen=True)
class Name(Node):
    """A variable: ``event``, or one of a macro."""

    name: str


@dataclass(frozen=True)
class Select(Node):
    """``operand.field``."""

    operand: Node
    field: str

    def parts(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.operand,)


@dataclass(frozen=True)
class Index(Node):
    """``operand[index]``."""

    operand: Node
    index: Node

    def parts(self) -> tuple[Node, ...]:
        """The operand and the index."""
        return (self.operand, self.index)


@dataclass(frozen=True)
class Call(Node):
    """``name(arguments)``, or ``target.name(arguments)``."""

    name: str
    target: Node | None
    arguments: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        """The target, if there is one, and the arguments."""
        return self.arguments if self.target is None else (self.target, *self.arguments)


@dataclass(frozen=True)
class Has(Node):
    """``has(operand.field)``."""

    operand: Select

    def parts(self) -> tuple[Node, ...]:
        """The field."""
        return (self.operand,)


@dataclass(frozen=True)
class Macro(Node):
    """``range.name(variable, body)``, or ``range.map(variable, condition, body)``."""

    name: str
    range: Node
    variable: str
    condition: Node | None
    body: Node

    def parts(self) -> tuple[Node, ...]:
        """The range, the condition if there is one, and the body."""
        inner = (self.body,) if self.condition is None else (self.condition, self.body)
        return (self.range, *inner)


@dataclass(frozen=True)
class Binary(Node):
    """A comparison, ``in``, or arithmetic."""

    operator: str
    left: Node
    right: Node

    def parts(self) -> tuple[Node, ...]:
        """Both sides."""
        return (self.left, self.right)


@dataclass(frozen=True)
class Negative(Node):
    """``-operand``."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.operand,)


@dataclass(frozen=True)
class Not(Node):
    """``!operand``."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.operand,)


@dataclass(frozen=True)
class All(Node):
    """``a && b && …``, flat."""

    operands: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        """The operands."""
        return self.operands


@dataclass(frozen=True)
class Any(Node):
    """``a || b || …``, flat."""

    operands: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        """The operands."""
        return self.operands


@dataclass(frozen=True)
class Conditional(Node):
    """``condition ? yes : no``."""

    condition: Node
    yes: Node
    no: Node

    def parts(self) -> tuple[Node, ...]:
        """The condition, and what it chooses from."""
        return (self.condition, self.yes, self.no)


@dataclass(frozen=True)
class ListOf(Node):
    """``[a, b, …]``."""

    items: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        """The items."""
        return self.items


@dataclass(frozen=True)
class MapOf(Node):
    """``{"a": b, …}``; keys are texts."""

    entries: tuple[tuple[Literal, Node], ...]

    def parts(self) -> tuple[Node, ...]:
        """Keys and values."""
        return tuple(part for entry in self.entries for part in entry)


def walk(node: Node) -> Iterator[Node]:
    """The node and all that is in it."""
    yield node
    for part in node.parts():
        yield from walk(part)


def path_of(node: Node) -> tuple[str, tuple[str | int, ...]] | None:
    """A variable and the constant steps from it (``event.data.a["b"][0]``), if it is that."""
    steps: list[str | int] = []
    while not isinstance(node, Name):
        if isinstance(node, Select):
            steps.append(node.field)
        elif isinstance(node, Index) and isinstance(node.index, Literal):
            step = node.index.value
            if isinstance(step, bool) or not isinstance(step, (str, int)):
                return None
            steps.append(step)
        else:
            return None
        node = node.operand
    return node.name, tuple(reversed(steps))
