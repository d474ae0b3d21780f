"""Arrays: of one dimension or more, of any values that are not arrays or JSON themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ARRAY, JSON

from refold.errors import InvalidProjection
from refold.projection.columns.kind import Kind, same, wrong

_MOST_DIMENSIONS = 6


def array(name: str, kind: ARRAY[Any], item: Kind) -> Kind:
    """Lists of values (tuples with ``as_tuple=True``), each as its own column would hold it.

    Raises:
        InvalidProjection: Its elements cannot be told from an array.
    """
    if isinstance(kind.item_type, JSON) or item.takes_none:
        raise InvalidProjection(
            f"column {name!r}: expected an array of plain values, got one of {kind.item_type!r}; "
            "use JSONB for the whole"
        )
    if getattr(kind.item_type, "create_constraint", False):
        raise InvalidProjection(
            f"column {name!r}: expected an array whose elements have no constraint, got "
            f"{kind.item_type!r} with create_constraint=True"
        )
    container = tuple if kind.as_tuple else list
    dimensions = kind.dimensions
    expected = f"a list of {dimensions or 'one or more'} dimension(s)"

    def settle(value: Any) -> Any:
        shape = _shape(name, expected, value)
        if 0 in shape:
            return container()  # PostgreSQL knows one empty array
        if len(shape) > _MOST_DIMENSIONS or (dimensions and len(shape) != dimensions):
            raise wrong(name, expected, value)
        return _mapped(value, item.settle, container)

    def bind(value: Any) -> Any:
        return value if item.bind is same else _mapped(value, item.bind, list)

    return Kind(
        settle,
        ARRAY(item.base, dimensions=dimensions),
        bind=bind,
        read=settle,
        freeze=lambda value: _mapped(value, item.freeze, list),
        thaw=lambda value: _mapped(value, item.thaw, container),
        mutable=True,
    )


def _shape(name: str, expected: str, value: Any) -> tuple[int, ...]:
    """The lengths of an array's dimensions.

    Raises:
        WrongValue: The value is no array, or its rows are not equally long.
    """
    if not isinstance(value, (list, tuple)):
        raise wrong(name, expected, value)
    inner = [isinstance(element, (list, tuple)) for element in value]
    if not any(inner):
        return (len(value),)
    shapes = {_shape(name, expected, element) for element in value} if all(inner) else set()
    if len(shapes) != 1:
        raise wrong(name, f"{expected}, with rows that are equally long", value)
    return (len(value), *shapes.pop())


def _mapped(value: Any, change: Callable[[Any], Any], container: type) -> Any:
    def mapped() -> Iterator[Any]:
        for element in value:
            if element is None:
                yield None
            elif isinstance(element, (list, tuple)):
                yield _mapped(element, change, container)
            else:
                yield change(element)

    return container(mapped())
