"""The event source of this process: the one that REFOLD_EVENTS names, or Refold's own table."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from refold.errors import ConfigurationError, RefoldError
from refold.errors.words import why_not_imported
from refold.runtime.database_url import DatabaseUrl, parse_database_url
from refold.runtime.settings import Settings, load_settings
from refold.source.port.event_source import EventSource
from refold.store import schema

CHANNEL = "refold_events"
"""Whoever appends to Refold's own table may notify here."""

OWN = EventSource(
    schema.events,
    position=schema.events.c.position,
    stream_id=schema.events.c.stream_id,
    version=schema.events.c.version,
    type=schema.events.c.type,
    data=schema.events.c.data,
    metadata=schema.events.c.metadata,
    recorded_at=schema.events.c.recorded_at,
    wakes_on=CHANNEL,
    first=1,
)
"""Refold's own table, ``refold.events``."""

_used: EventSource | None = None
# Where the settings say that the events are; None for what the source says.
_used_url: str | None = None


def event_source() -> EventSource:
    """The source that this process reads.

    Raises:
        ConfigurationError: REFOLD_EVENTS names none.
    """
    return use_source(load_settings()) if _used is None else _used


def events() -> Any:
    """What statements select events from: `EventSource.events` of this process's source."""
    return event_source().events


def events_url() -> str | None:
    """The address of the events' database; None when they are in that of the read models."""
    source = event_source()
    return _used_url or source.url


def parsed_events_url(url: str) -> DatabaseUrl:
    """An address of the events' database as libpq reads it.

    Raises:
        ConfigurationError: It is none.
    """
    return parse_database_url(url, variable="REFOLD_EVENTS_URL")


def use_source(settings: Settings) -> EventSource:
    """Makes the process read the source that its settings name; it reads one, for good.

    Raises:
        ConfigurationError: They name none, or the process reads another one already.
    """
    global _used, _used_url  # noqa: PLW0603
    url = settings.events_url if settings.events_url != settings.database_url else None
    if url is not None:
        parsed_events_url(url)
        if _used_url not in (None, url):
            raise ConfigurationError(
                "REFOLD_EVENTS_URL: expected one database of events for a process, and it reads "
                "another one already: start another process"
            )
        _used_url = url
    if settings.events is None:
        _used = _used or OWN
        return _used
    named = load_source(settings.events)
    if _used not in (None, OWN, named):
        raise ConfigurationError(
            f"REFOLD_EVENTS: expected one event source for a process, got {settings.events!r}, "
            f"and it reads {_used!r} already: start another process"
        )
    _used = named
    return named


@contextmanager
def using(source: EventSource, url: str | None = None) -> Iterator[EventSource]:
    """Makes the process read a source as long as the context lasts: for tests.

    Args:
        source: The source.
        url: The address of its database; None for what it says itself.
    """
    global _used, _used_url
    before = _used, _used_url
    _used, _used_url = source, url
    try:
        yield source
    finally:
        _used, _used_url = before


_loaded: dict[str, EventSource] = {}


def load_source(place: str) -> EventSource:
    """The source that ``module:name`` names: an `EventSource`, or a function that makes one.

    The working directory counts as an import path.

    Raises:
        ConfigurationError: There is none.
    """
    if place not in _loaded:
        _loaded[place] = _found(place)
    return _loaded[place]


def _found(place: str) -> EventSource:
    found = imported(place, "REFOLD_EVENTS", "an EventSource")
    if not isinstance(found, EventSource):
        raise ConfigurationError(
            f"REFOLD_EVENTS: expected module:name of an EventSource, got {place!r}, which is "
            f"{type(found).__name__}"
        )
    return found


def imported(
    place: str,
    setting: str,
    what: str,
    *,
    is_one: Callable[[Any], bool] = lambda found: isinstance(found, EventSource),
) -> Any:
    """What ``module:name`` names, or what it returns if it is a function.

    The working directory counts as an import path.

    Args:
        place: Where it is.
        setting: The setting that says so.
        what: What is expected there.
        is_one: Whether what is found is that already, and is not called.

    Raises:
        ConfigurationError: There is nothing, or importing or making it fails.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    module, _, name = place.partition(":")
    if not re.fullmatch(r"[\w.]+:\w+", place):
        raise ConfigurationError(
            f"{setting}: expected module:name of {what}, such as shop.events:source, got {place!r}"
        )
    try:
        found: Any = getattr(importlib.import_module(module), name)
        if callable(found) and not is_one(found):
            found = found()
    except (RefoldError, KeyboardInterrupt):
        raise
    except BaseException as error:  # `exit()` in a module is no end of ours
        raise ConfigurationError(
            f"{setting}: expected module:name of {what}, but {place!r} fails: "
            f"{why_not_imported(module, error)}"
        ) from error
    return found
