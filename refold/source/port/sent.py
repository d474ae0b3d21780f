"""What is sent of each event that a rebuild reads: what handlers read, as far as that is found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from weakref import WeakSet

from sqlalchemy import String

from refold.projection.declaration import Handler, Projection
from refold.projection.key import KeyFunction
from refold.projection.keys.part import KeyPart, paths_read
from refold.projection.keys.path import KeyPath
from refold.projection.narrowed.reads import ALL, fields_read
from refold.projection.narrowed.sent_event import ReadsMore, Sent
from refold.projection.narrowed.sequence_reads import fields_read_of_each
from refold.projection.reading.key_fold import FoldsKey
from refold.source.port.current import event_source

logger = logging.getLogger(__name__)

_reads_more: WeakSet[Projection] = WeakSet()


def sent_of(projection: Projection) -> Sent:
    """What is sent of an event to the handlers of a projection.

    All of it, if the source is not Refold's own: other ones make an event of what they send.
    """
    if not event_source().is_own:
        return Sent()
    read = ALL
    if projection not in _reads_more:
        read = _fields_read_by_fold(projection)
    return Sent(read, key_at=1 if _is_stream_id(projection.key_paths) else None)


def sent_to_follow(projection: Projection) -> Sent:
    """What is sent of an event to the handlers and the key of a projection, in order of position.

    As for `sent_of`, all of it if the source is not Refold's own.
    """
    if not event_source().is_own or projection in _reads_more:
        return Sent()
    read = _fields_read(tuple(projection.handlers.values()))
    function, parts = projection.rows.key_function, projection.key_paths
    if function is not None:
        read |= _fields_read_by_key(function)
    return Sent(read | {path.partition(".")[0] for path in paths_read(parts or ())})


def sent_to_key(projection: Projection) -> Sent:
    """What is sent of an event to the function that makes a projection's key."""
    function = projection.rows.key_function
    if function is None or not event_source().is_own or projection in _reads_more:
        return Sent()
    return Sent(_fields_read_by_key(function))


def _is_stream_id(parts: Sequence[KeyPart] | None) -> bool:
    """Whether the key is what is sent as stream_id anyway; None: it is a function."""
    if parts is None:
        return False
    (first, *others) = parts
    is_path = isinstance(first, KeyPath) and first.path == "stream_id"
    return is_path and isinstance(first.column.type, String) and not others


def warn_of(projection: Projection, more: ReadsMore) -> None:
    """From now on all of each event is sent to this projection, in this process."""
    logger.warning(
        "projection %s reads %s of events, which its code does not show: from now on all of each "
        "event is sent to it",
        projection.name,
        more,
    )
    _reads_more.add(projection)


def _fields_read_by_fold(projection: Projection) -> frozenset[str]:
    fold = projection.key_fold
    if fold is None:
        return _fields_read(tuple(projection.handlers.values()))
    return _fields_read_of_each(fold.function) if fold.takes_stored_events else ALL


@lru_cache(maxsize=64)
def _fields_read_of_each(function: FoldsKey) -> frozenset[str]:
    return fields_read_of_each(function)


@lru_cache(maxsize=64)
def _fields_read_by_key(function: KeyFunction) -> frozenset[str]:
    return fields_read((function,), place=0)


@lru_cache(maxsize=64)
def _fields_read(handlers: tuple[Handler, ...]) -> frozenset[str]:
    return fields_read(handlers)
