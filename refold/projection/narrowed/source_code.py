"""The source code of a function, as a tree; only if it is what runs."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType

Node = ast.FunctionDef | ast.Lambda
"""A plain function in source code."""


def node_of(function: FunctionType) -> Node | None:
    """The function's node in the tree of its file.

    None where that is not certain: there is no file, the file is not what was loaded, or several
    functions begin in the same line.
    """
    code = function.__code__
    tree, codes = _read(code.co_filename, "".join(linecache.getlines(code.co_filename)))
    if tree is None or code not in codes:
        return None
    found = [node for node in _functions(tree) if _begins(node, code)]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=8)
def _read(filename: str, text: str) -> tuple[ast.Module | None, frozenset[CodeType]]:
    try:
        tree = ast.parse(text, filename)
        return tree, frozenset(_codes(compile(text, filename, "exec", dont_inherit=True)))
    except (SyntaxError, ValueError, RecursionError):
        return None, frozenset()


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)


def _functions(tree: ast.Module) -> Iterator[Node]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield node


def _begins(node: Node, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return code.co_name == node.name and first == code.co_firstlineno
