"""Requests as people and programs send them: accepted, or refused field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from refold.errors import InvalidRequest
from refold.requests.limits import Limits
from refold.requests.undecodable import Undecodable

R = TypeVar("R", bound=BaseModel)

_EXAMPLE = '{"projection": "order-summary"}'
_MOST_PROBLEMS = 10
_LONGEST_ERROR = 1900


def accept_request(inputs: Sequence[Any], kind: type[R]) -> R:
    """The request among a workflow's arguments, as they came from whatever started it.

    Raises:
        InvalidRequest: There is not exactly one argument, or it is not a request; the message
            names each field with what was expected and what came.
    """
    if len(inputs) != 1:
        got = f"{len(inputs)} arguments" if inputs else "no input"
        raise InvalidRequest(f"input: expected one JSON object such as {_example(kind)}, got {got}")
    if isinstance(inputs[0], Undecodable):
        raise InvalidRequest(
            f"input: expected one JSON object such as {_example(kind)}, got {inputs[0]}"
        )
    if (unfit := _not_storable(inputs[0])) is not None:
        raise InvalidRequest(
            f"invalid request: {unfit or 'input'}: expected text without NUL and lone surrogates: "
            "PostgreSQL has none"
        )
    return _strictly(inputs[0], kind)


def _strictly(given: Any, kind: type[R]) -> R:
    """The model, of JSON whose values have the types of its fields: "5", 5.0, true are no 5.

    Raises:
        InvalidRequest: It is not one.
    """
    try:
        # As JSON: there a date is a string, and a choice, too.
        return kind.model_validate_json(to_json(given, inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        raise InvalidRequest(_describe(error, kind)) from None
    except ValueError:
        raise InvalidRequest(
            f"input: expected one JSON object such as {_example(kind)}, got {type(given).__name__}"
        ) from None


def _not_storable(value: Any, place: str = "") -> str | None:
    """Where there is text that PostgreSQL cannot store; None for nowhere."""
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(f"{place}.{name}".lstrip("."), held) for name, held in value.items()]
        inner += [(place, name) for name in value]
    elif isinstance(value, list):
        inner = [(place, held) for held in value]
    elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        return place
    found = (_not_storable(held, within) for within, held in inner)
    return next((one for one in found if one is not None), None)


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def accept_limits(inputs: Sequence[Any]) -> Limits:
    """The limits among an update's arguments.

    Raises:
        InvalidRequest: There is not exactly one argument, or it is not limits.
    """
    example = '{"batch_size": 500, "events_per_second": 2000}'
    if len(inputs) != 1 or not isinstance(inputs[0], dict):
        got = f"{len(inputs)} arguments" if len(inputs) != 1 else repr(inputs[0])[:100]
        raise InvalidRequest(f"limits: expected one JSON object such as {example}, got {got}")
    return _strictly(inputs[0], Limits)


def in_words(said: Sequence[Any]) -> str:
    """What somebody has said with a signal, as its first argument; empty for nothing."""
    if not said or said[0] is None:
        return ""
    text = said[0] if isinstance(said[0], str) else repr(said[0])
    if isinstance(said[0], Undecodable):
        text = str(said[0])
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


_LONGEST_REASON = 1000


def _example(kind: type[BaseModel]) -> str:
    example: str = getattr(kind, "example", _EXAMPLE)
    return example


def _describe(error: ValidationError, kind: type[BaseModel]) -> str:
    accepted = ", ".join(kind.model_fields)
    sentences = []
    for problem in error.errors()[:_MOST_PROBLEMS]:
        field = ".".join(str(part)[:100] for part in problem["loc"])
        if problem["type"] == "missing":
            sentences.append(f"{field}: required, such as {_example(kind)}")
        elif problem["type"] == "extra_forbidden":
            sentences.append(f"{field}: not a field of the request; accepted: {accepted}")
        elif problem["type"] == "value_error" and field:
            sentences.append(f"{field}: {problem['ctx']['error']}, got {problem['input']!r:.100}")
        elif problem["type"] == "value_error":
            sentences.append(str(problem["ctx"]["error"]))
        elif not field:
            sentences.append(
                f"input: expected one JSON object such as {_example(kind)}, got "
                f"{problem['input']!r:.100}"
            )
        else:
            sentences.append(f"{field}: {problem['msg']}, got {problem['input']!r:.100}")
    said = "invalid request: " + "; ".join(sentences)
    return said if len(said) <= _LONGEST_ERROR else f"{said[:_LONGEST_ERROR]}…"
