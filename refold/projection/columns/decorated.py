"""Column types that a projection's own code decorates, by a `TypeDecorator`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import TypeDecorator
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from refold.errors import InvalidProjection
from refold.projection.columns.kind import Kind, WrongValue, wrong

DIALECT: Any = dialect()  # type: ignore[no-untyped-call]


def decorated(name: str, kind: TypeDecorator[Any], impl: Kind, *, nullable: bool) -> Kind:
    """Values as ``process_result_value`` gives them for what ``process_bind_param`` stores.

    Args:
        name: The column's name.
        kind: The decorator.
        impl: The type that it decorates.
        nullable: Whether the column takes NULL.

    Raises:
        InvalidProjection: The decorator does more than change values.
    """
    _require_plain(name, kind)

    def bound(value: Any) -> Any:
        made = kind.process_bind_param(value, DIALECT) if _binds(kind) else value
        return None if made is None else impl.settle(made)

    def seen(stored: Any) -> Any:
        return kind.process_result_value(stored, DIALECT) if _reads(kind) else stored

    def settle(value: Any) -> Any:
        stored = bound(value)
        if stored is None and not nullable:
            raise wrong(name, "a value: it is NOT NULL", value)
        result = seen(stored)
        again = bound(result)
        if _frozen(impl, again) != _frozen(impl, stored):
            raise WrongValue(
                f"column {name!r}: expected its type {type(kind).__name__} to store a value that "
                f"it has read as it was, got another one for {result!r:.80}"
            )
        return result

    def bind(value: Any) -> Any:
        stored = bound(value)
        return None if stored is None else impl.bind(stored)

    def freeze(value: Any) -> Any:
        return _frozen(impl, bound(value))

    def thaw(frozen: Any) -> Any:
        return seen(None if frozen is None else impl.thaw(frozen))

    def read(stored: Any) -> Any:
        return seen(None if stored is None else impl.settle(stored))

    return Kind(
        settle,
        impl.base,
        bind=bind,
        freeze=freeze,
        thaw=thaw,
        read=read,
        mutable=True,
        takes_none=True,
    )


def _frozen(impl: Kind, stored: Any) -> Any:
    return None if stored is None else impl.freeze(stored)


def _binds(kind: TypeDecorator[Any]) -> bool:
    return type(kind).process_bind_param is not TypeDecorator.process_bind_param


def _reads(kind: TypeDecorator[Any]) -> bool:
    return type(kind).process_result_value is not TypeDecorator.process_result_value


def _require_plain(name: str, kind: TypeDecorator[Any]) -> None:
    more = [
        method
        for method in ("bind_expression", "column_expression", "bind_processor", "result_processor")
        if getattr(type(kind), method) is not getattr(TypeDecorator, method)
    ]
    if more:
        raise InvalidProjection(
            f"column {name!r}: expected a type that changes values by process_bind_param and "
            f"process_result_value alone, got {type(kind).__name__} with {', '.join(more)}"
        )
