"""Handlers of all shapes, with the fields that are found to be read; and an event that notes."""

# Odd shapes are what this is about.
# ruff: noqa: PLC3002, PLR1704

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from refold import Event, Row
from refold.projection.narrowed.reads import ALL

EVENT = Event(7, "s-1", 3, "Seen", {"n": 5}, {"by": "me"}, datetime(2026, 1, 1, tzinfo=UTC))


class Noting(Event):
    """An event that notes which fields it is asked for; as a tuple, for all of them."""

    asked: set[str] = set()  # noqa: RUF012

    def __getattribute__(self, name: str) -> Any:
        if name in Event._fields:
            Noting.asked.add(name)
        elif not name.startswith("__"):
            Noting.asked |= ALL
        return super().__getattribute__(name)

    def _all(self, *arguments: Any) -> Any:
        Noting.asked |= ALL
        return NotImplemented

    def __iter__(self) -> Any:
        Noting.asked |= ALL
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        Noting.asked |= ALL
        return super().__getitem__(index)

    def __eq__(self, other: object) -> bool:
        Noting.asked |= ALL
        return super().__eq__(other)

    def __repr__(self) -> str:
        Noting.asked |= ALL
        return super().__repr__()

    def __hash__(self) -> int:
        Noting.asked |= ALL
        return 1


def really_read(handler: Callable[..., Any], row: Row | None) -> set[str]:
    Noting.asked = set()
    handler(row, Noting(*EVENT))
    return Noting.asked - {"position", "stream_id", "type"}


# -- shapes --------------------------------------------------------------------------------------


def _by(event: Event) -> str:
    return str(event.metadata["by"])


def _when(first: Any, event: Event, *, other: Any = None) -> Any:
    return first, event.recorded_at, other


def _endless(n: int, event: Event) -> int:
    return event.version if n == 0 else _endless(n - 1, event)


def _starred(*events: Event) -> Any:
    return events[0].metadata


def passes_on(row: Row | None, event: Event) -> Row:
    return {"by": _by(event), "when": _when(1, event), "n": event.data["n"]}


def passes_by_name(row: Row | None, event: Event) -> Row:
    return {"when": _when(other=2, event=event, first=1)}


def recursive(row: Row | None, event: Event) -> Row:
    return {"n": _endless(3, event)}


def starred(row: Row | None, event: Event) -> Row:
    return {"n": _starred(event)}


def unpacked(row: Row | None, event: Event) -> Row:
    position, *_, at = event
    return {"n": position, "at": at}


def as_dict(row: Row | None, event: Event) -> Row:
    return {**event._asdict()}


def by_name(row: Row | None, event: Event) -> Row:
    return {"n": getattr(event, "meta" + "data")}


def aliased(row: Row | None, event: Event) -> Row:
    other = event
    return {"n": other.version}


def walrus(row: Row | None, event: Event) -> Row:
    if data := event.data:
        return {"n": (other := event) and other.version, "d": data}
    return {}


def comprehensions(row: Row | None, event: Event) -> Row:
    return {
        "a": [event.version for _ in range(2)],
        "b": {k: event.data[k] for k in event.data},
        "c": sum(event.position for _ in range(3)),
    }


def nested(row: Row | None, event: Event) -> Row:
    def inner() -> Any:
        return event.recorded_at

    return {"n": inner(), "f": (lambda: event.version)()}


def shadowed(row: Row | None, event: Event) -> Row:
    return {"n": [event.metadata for event in [event]]}


def shadowed_by_lambda(row: Row | None, event: Event) -> Row:
    return {"n": (lambda event: event.metadata)(event)}


def rebound(row: Row | None, event: Event) -> Row:
    event = event._replace(version=1)
    return {"n": event.version}


def matched(row: Row | None, event: Event) -> Row:
    match event:
        case Event(metadata={"by": by}):
            return {"n": by}
    return {}


def matched_type(row: Row | None, event: Event) -> Row:
    match event.type, event.data:
        case "Seen", {"n": n}:
            return {"n": n}
    return {}


def captured(row: Row | None, event: Event) -> Row:
    match [event]:
        case [event]:
            return {"n": event.metadata}
    return {}


def f_string(row: Row | None, event: Event) -> Row:
    return {"n": f"{event.recorded_at:%Y} {event.data['n']!r}"}


def f_string_of_all(row: Row | None, event: Event) -> Row:
    return {"n": f"{event}"}


def in_try(row: Row | None, event: Event) -> Row:
    try:
        return {"n": event.data["missing"]}
    except KeyError:
        return {"n": event.metadata}
    finally:
        str(event.version)


def excepted(row: Row | None, event: Event) -> Row:
    try:
        raise ValueError
    except ValueError as event:  # noqa: F841
        pass
    return {}


def sees_locals(row: Row | None, event: Event) -> Row:
    return {"n": locals()["event"].metadata}


def evaluated(row: Row | None, event: Event) -> Row:
    return {"n": eval("event.metadata")}


def stored(row: Row | None, event: Event) -> Row:
    _STORE.append(event)
    return {"n": _STORE.pop().metadata}


_STORE: list[Event] = []


def indexed(row: Row | None, event: Event) -> Row:
    return {"n": event[5]}


def formatted(row: Row | None, event: Event) -> Row:
    return {"n": "%s %s %s %s %s %s %s" % event}  # noqa: UP031


def in_class(row: Row | None, event: Event) -> Row:
    class Inner:
        when = event.recorded_at

    return {"n": Inner.when}


def reads_nothing(row: Row | None, event: Event) -> Row:
    return {"n": (row or {"n": 0})["n"] + 1}


def other_name(row: Row | None, what_happened: Event, limit: int = 3) -> Row:
    return {"n": what_happened.data["n"] + limit}


def all_of_them(*arguments: Any) -> Row:
    return {"n": arguments[1].metadata}


def _decorated(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def wrapper(row: Row | None, event: Event) -> Any:
        return {"v": event.version, **handler(row, event)}

    return wrapper


def _loosely(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def wrapper(*arguments: Any) -> Any:
        return {"by": arguments[1].metadata, **handler(*arguments)}

    return wrapper


@_decorated
def decorated(row: Row | None, event: Event) -> Row:
    return {"n": event.data["n"]}


@_loosely
def loosely_decorated(row: Row | None, event: Event) -> Row:
    return {"n": event.data["n"]}


class Kept:
    """Handlers that are methods."""

    def method(self, row: Row | None, event: Event) -> Row:
        return {"n": event.data["n"]}

    def by_self(self, row: Row | None, event: Event) -> Row:
        return self._other(event)

    def _other(self, event: Event) -> Row:
        return {"n": event.metadata}

    @classmethod
    def of_class(cls, row: Row | None, event: Event) -> Row:
        return {"n": event.version}

    @staticmethod
    def static(row: Row | None, event: Event) -> Row:
        return {"n": event.recorded_at}

    def __call__(self, row: Row | None, event: Event) -> Row:
        return {"n": event.metadata}


def _three(first: Any, row: Row | None, event: Event, *, last: int = 0) -> Row:
    return {"n": event.version + last}


def _closing(field: str) -> Callable[..., Any]:
    def closed(row: Row | None, event: Event) -> Row:
        return {"n": getattr(event, field)}

    return closed


LAMBDA = lambda row, event: {"n": event.data["n"]}  # noqa: E731
TWO = [lambda row, event: {"n": event.data}, lambda row, event: {"n": event.metadata}]

EXACT = {
    passes_on: {"metadata", "recorded_at", "data"},
    passes_by_name: {"recorded_at"},
    recursive: {"version"},
    comprehensions: {"version", "data"},
    nested: {"recorded_at", "version"},
    matched_type: {"data"},
    f_string: {"recorded_at", "data"},
    in_try: {"data", "metadata", "version"},
    in_class: {"recorded_at"},
    reads_nothing: set(),
    other_name: {"data"},
    decorated: {"version", "data"},
    Kept().method: {"data"},
    Kept.of_class: {"version"},
    Kept.static: {"recorded_at"},
    functools.partial(_three, 1, last=2): {"version"},
    LAMBDA: {"data"},
}
OTHERS = [
    *(starred, unpacked, as_dict, by_name, aliased, walrus, shadowed, shadowed_by_lambda, rebound),
    *(matched, captured, f_string_of_all, excepted, sees_locals, evaluated, stored, indexed),
    *(formatted, all_of_them, loosely_decorated, Kept().by_self, Kept(), *TWO),
    *(_closing("metadata"), functools.lru_cache(lambda row, event: {"n": event.metadata})),
]
