"""Refusing a predicate, with the place in it."""

from __future__ import annotations

from refold.errors import InvalidRequest

_EXAMPLE = 'event.type.startsWith("Order") && event.metadata.source == "web-api"'
_SHOWN = 40


def refusal(
    text: str, at: int, reason: str, got: str, expected: str | None = None
) -> InvalidRequest:
    """The error for what stands at an offset of a predicate's text."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    wanted = expected or f"a CEL expression over event, such as {_EXAMPLE}"
    return InvalidRequest(
        f"predicate: line {line}, column {column}: {reason}, got {shortened(got)!r}: "
        f"expected {wanted}"
    )


def shortened(text: str) -> str:
    """Enough of a text to know it by."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
