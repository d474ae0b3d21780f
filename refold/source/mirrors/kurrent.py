"""KurrentDB (once EventStoreDB): all of its events but its own, in the order of its log.

The client is imported when it is first needed: ``pip install refold[kurrentdb]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from refold.errors import ConfigurationError, MirrorSourceFailed, UnreadableEvent
from refold.errors.words import described, raised, shortened
from refold.projection.columns import exact_json
from refold.runtime.threads import in_thread
from refold.source.mirrors.protocol import Cursor, MirroredEvent, MirrorSource, readable

if TYPE_CHECKING:
    from kurrentdbclient import AsyncKurrentDBClient, RecordedEvent

# KurrentDB's own events, and links to others: `$>`, `$metadata`, `$stats`.
_OWN = "$"
_OWN_TYPES = r"\$.+"
_JSON = "application/json"
_READ_SECONDS = 30.0
_MOST_BYTES = 8 << 20


def kurrentdb(
    url: str,
    *,
    root_certificates: str | bytes | None = None,
    decode: Callable[[RecordedEvent], Mapping[str, Any]] | None = None,
    event_id: str | None = "event_id",
) -> MirrorSource:
    """All events of a KurrentDB, or of an EventStoreDB from version 20 on, but its own.

    The cursor is the commit position. Type, stream, data and metadata are as they are there, and so
    is the time. A stream's first event has version 1, as in `refold.events`; there it has 0.

    Args:
        url: Such as ``kurrentdb://user:password@host:2113?tls=true``; see the client's manual.
        root_certificates: In PEM, where the server's certificate is not a public one.
        decode: Makes an event's data of what is recorded; None for JSON.
        event_id: The field of the metadata that gets the event's id; None for none. One that the
            metadata have already stays.
    """
    return _Kurrent(url, root_certificates, decode, event_id)


class _Kurrent:
    def __init__(
        self,
        url: str,
        root_certificates: str | bytes | None,
        decode: Callable[[RecordedEvent], Mapping[str, Any]] | None,
        event_id: str | None,
    ) -> None:
        self._url = url
        self._root_certificates = root_certificates
        self._decode = decode
        self._event_id = event_id
        self._client: AsyncKurrentDBClient | None = None

    def __repr__(self) -> str:
        return "mirrors.kurrentdb(…)"  # the address has a password

    async def read(
        self, after: Cursor | None, limit: int
    ) -> Sequence[tuple[Cursor, MirroredEvent | None]]:
        """See `MirrorSource`."""
        position = _position(after)
        found = await self._whole(position, limit, exclude=(_OWN_TYPES,))
        # At the end of the log, the cursor passes what is KurrentDB's own: else each look would
        # begin before it.
        found = found or await self._whole(position, limit, exclude=())
        # In the threads of people's code: `decode` takes as long as it takes.
        return await in_thread(readable, found, self._mirrored)

    async def _whole(
        self, after: int | None, limit: int, *, exclude: Sequence[str]
    ) -> list[RecordedEvent]:
        """The next events; never a part of those that were committed as one, at one position."""
        asked = limit + 1
        while True:
            found, is_all = await self._found(after, asked, exclude)
            if is_all:
                return found
            last = found[-1].commit_position
            whole = [event for event in found if event.commit_position != last]
            if whole:
                return whole
            asked *= 2

    async def _found(
        self, after: int | None, most: int, exclude: Sequence[str]
    ) -> tuple[list[RecordedEvent], bool]:
        """So many events after a position, or as many as are large enough; whether it is all."""
        from kurrentdbclient.exceptions import KurrentDBClientError

        found: list[RecordedEvent] = []
        size = 0
        try:
            # The first one is the one that was read last.
            answer = await self._connected().read_all(
                commit_position=after,
                filter_exclude=exclude,
                limit=most + 1,
                timeout=_READ_SECONDS,
            )
            async with answer as events:
                async for event in events:
                    if after is not None and event.commit_position <= after:
                        continue
                    found.append(event)
                    size += len(event.data) + len(event.metadata)
                    alone = found[0].commit_position == event.commit_position
                    if len(found) == most or (size > _MOST_BYTES and not alone):
                        return found, False
        except KurrentDBClientError as error:
            raise _failed(error) from None
        return found, True

    def _connected(self) -> AsyncKurrentDBClient:
        if self._client is None:
            try:
                from kurrentdbclient import AsyncKurrentDBClient
            except ImportError as error:
                raise ConfigurationError(
                    "a mirror of KurrentDB: expected its client, which is not installed: "
                    f"pip install refold[kurrentdb] ({error})"
                ) from error
            try:
                self._client = AsyncKurrentDBClient(
                    self._url, root_certificates=self._root_certificates
                )
            except (ValueError, OSError) as error:
                # What the client says may hold the address.
                raise ConfigurationError(
                    "a mirror of KurrentDB: expected an address such as kurrentdb://host:2113, got "
                    f"one that its client refuses ({type(error).__name__})"
                ) from None
        return self._client

    # -- an event ------------------------------------------------------------------------------

    def _mirrored(self, event: RecordedEvent) -> tuple[Cursor, MirroredEvent | None]:
        is_own = event.type.startswith(_OWN) or event.stream_name.startswith(_OWN)
        return event.commit_position, None if is_own else self._event(event)

    def _event(self, event: RecordedEvent) -> MirroredEvent:
        metadata = _object(event, "metadata", event.metadata) if event.metadata else {}
        if self._event_id is not None:
            metadata.setdefault(self._event_id, str(event.id))
        return MirroredEvent(
            event.type,
            self._data(event),
            metadata=metadata,
            recorded_at=event.recorded_at,
            stream_id=event.stream_name,
            version=event.stream_position + 1,
        )

    def _data(self, event: RecordedEvent) -> dict[str, Any]:
        if self._decode is None:
            if event.content_type != _JSON:
                raise _unreadable(event, f"expected data of {_JSON}, got {event.content_type}")
            return _object(event, "data", event.data)
        try:
            return dict(self._decode(event))
        except Exception as error:
            raise _unreadable(event, f"`decode` raised {raised(error)}") from error


def _position(after: Cursor | None) -> int | None:
    if after is None or type(after) is int:
        return after
    raise ConfigurationError(
        f"a mirror of KurrentDB: expected a commit position as its cursor, got {described(after)}: "
        "the mirror of this name had another source before; give this one another name"
    )


def _object(event: RecordedEvent, place: str, text: bytes) -> dict[str, Any]:
    try:
        found = exact_json.loads(text) if text else {}
    except ValueError as error:
        raise _unreadable(event, f"its {place} are no JSON ({error})") from None
    if not isinstance(found, dict):
        raise _unreadable(event, f"expected {place} that is an object, got {described(found)}")
    return found


def _unreadable(event: RecordedEvent, why: str) -> UnreadableEvent:
    return UnreadableEvent(
        f"event {event.stream_position} of stream {shortened(event.stream_name, 200)!r} at commit "
        f"position {event.commit_position} ({shortened(event.type, 200)}): {why}: give "
        "mirrors.kurrentdb a `decode` that takes it"
    )


def _failed(error: Exception) -> Exception:
    """What is to be raised for what the client raises: passing, final, or nobody knows."""
    from kurrentdbclient import exceptions as known

    refused = (known.AccessDeniedError, known.UnauthenticatedError, known.SSLError)
    passing = (
        *(known.GrpcError, known.DeadlineExceededError, known.AbortedByServerError),
        *(known.DiscoveryFailedError, known.NodeIsNotLeaderError),
    )
    kind = type(error).__name__
    if isinstance(error, known.InvalidCommitPositionError):
        return ConfigurationError(
            "a mirror of KurrentDB: expected the one that was copied from before, got one whose "
            "log does not have the cursor: another KurrentDB, or an older copy of it"
        )
    if isinstance(error, refused):
        return ConfigurationError(
            f"a mirror of KurrentDB: the server refuses to be read ({kind}): check user, password "
            "and certificates of its address; the user needs the right to read $all"
        )
    if isinstance(error, passing):
        return MirrorSourceFailed(f"KurrentDB cannot be read now ({kind})")
    return error
