"""Upcasters: functions that bring stored events of older schema versions up to date.

They are known to the whole process, by event type and schema version, as soon as the module that
declares them is imported. The log stays as it is, and so does what SQL sees of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from refold.errors import InvalidProjection
from refold.projection.reading.declared import MOST, Chain, Declared, Upcaster

_U = TypeVar("_U", bound=Upcaster)

VERSION_AT = "metadata.schema_version"
_AT = re.compile(r"(data|metadata)(\.[^.]+)+")


class Follows(Protocol):
    """What is told of each new upcaster."""

    def refresh(self, types: Iterable[str]) -> None:
        """Stored events of these types may be brought up to date otherwise than before."""


class Upcasters:
    """The upcasters of a process."""

    def __init__(self) -> None:
        self._declared: dict[str, dict[int, Declared]] = {}
        self._chains: dict[str, Chain] = {}
        self._followers: WeakSet[Any] = WeakSet()

    def add(self, one: Declared) -> None:
        """Adds an upcaster; one that is declared anew, as its module is, takes its own place.

        Raises:
            InvalidProjection: There is another from this version, it leads in a circle, or the
                type's schema version is said to be elsewhere.
        """
        others = self._declared.get(one.type, {})
        there = others.get(one.version)
        if there is not None and _place(there.upcaster) != _place(one.upcaster):
            raise InvalidProjection(
                f"upcast(): {one.type!r} has an upcaster from version {one.version} already, "
                f"{_place(there.upcaster)}: expected one for a version, got {_place(one.upcaster)} "
                "too: take one of them out"
            )
        for other in others.values():
            if other.version_at != one.version_at and other is not there:
                raise InvalidProjection(
                    f"upcast(): expected one place for the schema version of {one.type!r}, got "
                    f"{other.version_at!r} and {one.version_at!r}: say the same `version_at` for "
                    "all upcasters of a type"
                )
        leads_to = {(each.to_type, each.to_version) for each in [one, *self._after(one)]}
        if (one.type, one.version) in leads_to:
            raise InvalidProjection(
                f"{one.what} leads to version {one.to_version} of {one.to_type!r}, and from "
                "there upcasters lead back to it: take one of them out"
            )
        self._declared.setdefault(one.type, {})[one.version] = one
        self._settle([one.type, *(stored for stored in self._declared if self._meets(stored, one))])

    def follow(self, follower: Follows) -> None:
        """Tells of each new upcaster, as long as the follower lives."""
        self._followers.add(follower)

    @property
    def chains(self) -> Mapping[str, Chain]:
        """What is done to stored events, by their type; there is none for the others."""
        return self._chains

    def versions(self, event_type: str) -> list[int]:
        """The schema versions of a type that there are upcasters from, ascending."""
        return sorted(self._declared.get(event_type, {}))

    def require_whole(self, event_type: str) -> None:
        """Refuses a chain with a gap: an event would stop on the way, and not be the newest.

        Raises:
            InvalidProjection: There is one.
        """
        for one in self._declared.get(event_type, {}).values():
            last = [one, *self._after(one)][-1]
            newest = max(self._declared.get(last.to_type, {}), default=0)
            if newest > last.to_version:
                raise InvalidProjection(
                    f"{last.what} makes version {last.to_version} of {last.to_type!r}: expected an "
                    f"upcaster from there, as there is one from version {newest}, got none: write "
                    f"@upcast({last.to_type!r}, from_version={last.to_version}), or say its "
                    "`to_version`"
                )

    def _after(self, one: Declared) -> list[Declared]:
        found: list[Declared] = []
        following: Declared | None = one
        while following is not None:
            following = self._declared.get(following.to_type, {}).get(following.to_version)
            if following is None or following in found:
                break
            found.append(following)
        return found

    def _meets(self, stored: str, one: Declared) -> bool:
        return any(one in self._after(first) for first in self._declared[stored].values())

    def _settle(self, types: Sequence[str]) -> None:
        """Makes the chains of these types anew, and tells of them."""
        for stored in types:
            first = self._declared.get(stored, {}).values()
            self._chains.pop(stored, None)
            if first:
                upcasters = {one.version: (one, *self._after(one)) for one in first}
                self._chains[stored] = Chain(upcasters, next(iter(first)).version_at)
        for follower in list(self._followers):
            follower.refresh(types)

    @contextmanager
    def set_apart(self) -> Iterator[None]:
        """Begins without any upcasters, and forgets afterwards those declared since: for tests."""
        before = self._declared
        self._declared = {}
        self._settle([*before])
        try:
            yield
        finally:
            types = [*before, *self._declared]
            self._declared = before
            self._settle(types)


UPCASTERS = Upcasters()
"""Those of this process."""


def upcast(
    event_type: str,
    *,
    from_version: int,
    to_version: int | None = None,
    to_type: str | None = None,
    version_at: str = VERSION_AT,
) -> Callable[[_U], _U]:
    """Makes the decorated function bring events of an older schema version up to date.

    It is given the event, with a copy of its data, and returns its data in the next version: a
    dict. It must be pure, as handlers are. What it makes is given to the upcaster from that version
    if there is one, and in the end to handlers, in runs, live and in `Projection.fold` alike. The
    log is left as it is: keys, predicates, criteria and triggers look at what is stored.

    It holds for every projection of the process, from the moment at which its module is imported.
    The event's metadata stay, and so say the version in which it is stored.

    Args:
        event_type: The type as it is stored.
        from_version: The schema version that it takes, from 1.
        to_version: The one that it makes. When left out, the next one; or 1, the first, of another
            type.
        to_type: The event type that it makes: for one that was renamed. When left out, the same.
        version_at: Where an event says its schema version: a whole number, at a path into its
            metadata or data. One that says none, or null, is of version 1.

    Raises:
        InvalidProjection: There is another upcaster from this version, they lead in a circle, the
            function is asynchronous, or a version is below 1 or does not rise.
    """
    asked = f"upcast({event_type!r:.200})"
    to_type = event_type if to_type is None else to_type
    for name, named in (("event_type", event_type), ("to_type", to_type)):
        if not isinstance(named, str) or not named:
            raise InvalidProjection(
                f"{asked}: {name}: expected an event type, a text, got {named!r:.200}"
            )
    if to_version is None and type(from_version) is int:
        to_version = from_version + 1 if to_type == event_type else 1
    for name, version in (("from_version", from_version), ("to_version", to_version)):
        if type(version) is not int or not 1 <= version < MOST:
            raise InvalidProjection(
                f"{asked}: {name}: expected a whole number from 1, got {version!r}"
            )
    assert to_version is not None
    if to_type == event_type and to_version <= from_version:
        raise InvalidProjection(
            f"{asked}: expected a to_version above {from_version}, got {to_version}"
        )
    if not isinstance(version_at, str) or not _AT.fullmatch(version_at):
        raise InvalidProjection(
            f"{asked}: version_at: expected a path such as {VERSION_AT!r}, got {version_at!r}"
        )

    def register(function: _U) -> _U:
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise InvalidProjection(
                f"{asked}: expected a plain function of an event, got {function!r}: upcasters are "
                "pure"
            )
        UPCASTERS.add(Declared(event_type, from_version, to_type, to_version, version_at, function))
        return function

    return register


def _place(function: Callable[..., Any]) -> str:
    """Where a function is defined: the same when its module is imported anew."""
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function)
    return f"{code.co_qualname} at {code.co_filename}:{code.co_firstlineno}"
