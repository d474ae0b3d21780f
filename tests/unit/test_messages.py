"""Messages grow: what a newer version has added, an older one passes over."""

from __future__ import annotations

import inspect
import pkgutil
import types
from datetime import datetime
from enum import Enum
from importlib import import_module
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import refold
from refold.messages.base import Message
from refold.messages.recorded_event import RecordedEvent
from refold.projection.dead_letters import DeadLetter
from refold.requests.limits import Limits, Pacing, Throttle
from refold.requests.poison_policy import Poison
from refold.requests.runs import BackfillRequest, Request
from refold.system_events.known import BUILT_IN, as_event

LIMITS = {"batch_size": 1}


def every_message() -> list[type[Message]]:
    for module in pkgutil.walk_packages(refold.__path__, "refold."):
        if "migrations" not in module.name:
            import_module(module.name)
    found: list[type[Message]] = []
    waiting = [Message]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if not inspect.isabstract(kind) and kind.__module__.startswith("refold."):
                found.append(kind)
            waiting.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


def sample(annotation: Any) -> Any:  # noqa: PLR0911 - one for each kind of type
    """JSON for a field of that type, with a field that nobody knows in each object."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        (kind,) = (kind for kind in inner if kind is not type(None))  # all positions are filled
        return sample(kind)
    if origin is list:
        return [sample(inner[0])]
    if origin is dict:
        return {"some": sample(inner[1])}
    if origin is Literal:
        return inner[0]
    if origin is not None:
        return sample(inner[0])
    if annotation is Limits:
        return {**LIMITS, "from_a_newer_version": 1}
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return grown(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return next(iter(annotation)).value
    if annotation is datetime:
        return "2026-01-01T00:00:00Z"
    return {str: "some", int: 1, float: 1.0, bool: False, Any: 1}[annotation]


def grown(kind: type[BaseModel]) -> dict[str, Any]:
    fields = {
        name: sample(field.annotation)
        for name, field in kind.model_fields.items()
        if field.is_required() or _holds_model(field.annotation)
    }
    return {**fields, "from_a_newer_version": {"more": [1]}}


def _holds_model(annotation: Any) -> bool:
    if inspect.isclass(annotation):
        return issubclass(annotation, BaseModel)
    return any(_holds_model(inner) for inner in get_args(annotation))


def test_each_message_with_fields_that_are_not_known_loads(subtests: pytest.Subtests) -> None:
    for kind in every_message():
        with subtests.test(kind=kind.__name__):
            loaded: Message = TypeAdapter(kind).validate_python(grown(kind))
            again = kind.model_validate_json(loaded.model_dump_json())
            assert again == loaded
            assert "from_a_newer_version" not in loaded.model_dump_json()


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_recorded_event_with_fields_that_are_not_known_loads(name: str) -> None:
    kind = BUILT_IN[name]
    data = grown(kind)
    recorded = RecordedEvent(
        projection=data.pop("projection"),
        number=1,
        type=name,
        data=data,
        recorded_at=datetime(2026, 1, 1),
    )
    assert type(as_event(recorded, kind)) is kind


def _activities() -> list[Any]:
    """The functions that workers offer as activities."""
    package = import_module("refold.activities")
    found = []
    for module in pkgutil.iter_modules(package.__path__, "refold.activities."):
        for holder in vars(import_module(module.name)).values():
            if inspect.isclass(holder) and holder.__module__ == module.name:
                found += [one for one in vars(holder).values() if activity_of(one) is not None]
    return found


def activity_of(function: Any) -> Any:
    return getattr(function, "__temporal_activity_definition", None)


def _leaves(annotation: Any) -> set[Any]:
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*map(_leaves, inner))


@pytest.mark.parametrize("activity", _activities(), ids=lambda one: one.__name__)
def test_what_activities_take_and_give_are_messages_or_plain(activity: Any) -> None:
    for kind in set().union(*map(_leaves, get_type_hints(activity).values())):
        assert kind in (str, int, float, bool, type(None)) or issubclass(kind, Message)


def _requests() -> list[type[Request]]:
    found, waiting = [], [Request]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found += [kind] if kind.__module__.startswith("refold.") else []
    return found


@pytest.mark.parametrize("kind", [*_requests(), Pacing, Poison, Throttle, Limits])
def test_what_people_send_stays_strict(kind: type[BaseModel]) -> None:
    given = {"projection": "p"} if issubclass(kind, Request) else {}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({**given, "batch_sise": 1})


def test_what_people_send_stays_strict_within() -> None:
    given = {"projection": "p", "throttle": {"max_activ_connections": 3}}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        BackfillRequest.model_validate(given)


@pytest.mark.parametrize("kind", [kind for kind in BUILT_IN.values() if kind.signal])
def test_events_that_people_send_stay_strict(kind: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({"projection": "p", "batch_sise": 1})


def test_messages_are_found() -> None:
    assert len(_activities()) > 20
    assert len(every_message()) > 40
    assert DeadLetter in every_message()
