"""Events as JSON, decoded many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import orjson

from refold.errors import UnreadableEvent
from refold.projection.columns import exact_json
from refold.runtime.threads import Hand
from refold.source.port.current import event_source

# Few enough events to stay in the processor's cache from decoding to folding. The decoder takes
# twelve bytes of memory for each byte of JSON that it reads: for usual events, fewer than what
# `refold.runtime.allocator` has mapped anew each time.
_DECODED_AT_ONCE = 50
_BYTES_AT_ONCE = 1 << 18


def decoded(texts: Sequence[str], hand: Hand | None = None) -> Iterator[list[Any]]:
    """Yields the fields of events as JSON, from statements of `refold.source.reader`.

    These are position, stream_id, version, type, data, metadata, recorded_at as ISO 8601, and for
    statements in key order the key: as JSON has it, a list if it is composite. Where less is sent,
    it is what `Sent` says.

    Args:
        texts: A chunk.
        hand: Is told how large the events are.

    Raises:
        UnreadableEvent: While iterating, an event whose JSON cannot be decoded.
    """
    starts = range(0, len(texts), _DECODED_AT_ONCE)
    return chain.from_iterable(_few(texts[at : at + _DECODED_AT_ONCE], hand) for at in starts)


def _few(texts: Sequence[str], hand: Hand | None) -> Iterable[list[Any]]:
    together = f"[{','.join(texts)}]"
    if hand is not None:
        hand.size += len(together)
    if len(together) <= _BYTES_AT_ONCE:
        return _decoded(texts, together)
    return chain.from_iterable(_decoded([text], f"[{text}]") for text in texts)


def _decoded(texts: Sequence[str], together: str) -> Iterable[list[Any]]:
    fields = event_source().fields
    found = _of_json(texts, together)
    # One by one: what cannot be read ends the work at its place, not before.
    return found if fields.is_own else map(fields.read, found)


def _of_json(texts: Sequence[str], together: str) -> list[list[Any]]:
    encoded = together.encode()
    if not exact_json.may_lose(encoded):
        try:
            fields: list[list[Any]] = orjson.loads(encoded)
            return fields
        except orjson.JSONDecodeError:
            pass  # one of them
    return [_decoded_alone(text) for text in texts]


def _decoded_alone(text: str) -> list[Any]:
    try:
        fields: list[Any] = exact_json.loads(text)
        return fields
    except ValueError as error:
        position = text[1:].partition(",")[0]
        raise UnreadableEvent(
            f"event {position}: its JSON cannot be read ({error}), such as one nested too deep"
        ) from None
