"""Dead letters: poison events that were set aside, and the keys that are held for them."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from refold.errors import PoisonEvent
from refold.errors.words import storable
from refold.messages.base import Message
from refold.projection.key import Key

# How many characters of an error and of a trace are kept; a trace keeps its end, which says most.
_ERROR_SIZE = 2_000
_TRACE_SIZE = 8_000


class DeadLetter(Message):
    """A poison event that was set aside, as it is kept in ``refold.dead_letters``.

    Attributes:
        id: Its number, unique among all.
        projection: The projection that cannot take the event.
        generation: The copy of the table in which the key is held.
        key: The parts of the key that is held; None when the event's key itself does not fit: then
            nothing is held.
        position: The event's position.
        type: The event's type.
        stream_id: The event's stream.
        error: Why it cannot be taken.
        trace: The Python traceback of the handler, as far as there is one.
        run_id: The run that set it aside; None for the live projection.
        recorded_at: When it was set aside.
    """

    id: int
    projection: str
    generation: int
    key: list[Any] | None
    position: int
    type: str
    stream_id: str
    error: str
    trace: str | None
    run_id: str | None
    recorded_at: datetime


@dataclass(frozen=True)
class Letter:
    """A poison event that is about to become a dead letter.

    Attributes:
        key: The key that is held, as `letter_key` has it; None when there is none.
        position: The event's position.
        type: The event's type.
        stream_id: The event's stream.
        error: Why it cannot be taken.
        trace: The handler's traceback; None when there is none.
    """

    key: list[Any] | None
    position: int
    type: str
    stream_id: str
    error: str
    trace: str | None

    @classmethod
    def of(
        cls, poison: PoisonEvent, cause: BaseException | None = None, *, key: Key | None = None
    ) -> Letter:
        """The letter for an event that could not be taken.

        Args:
            poison: The error that names the event.
            cause: What the handler or the key function raised; the error's own cause when left out.
            key: The key that is going to be held; None for none.
        """
        return cls(
            key=None if key is None else letter_key(key),
            position=poison.position,
            type=poison.event_type,
            stream_id=poison.stream_id,
            error=storable(poison.reason)[:_ERROR_SIZE],
            trace=_traced(cause or poison.__cause__),
        )

    def refused(self, projection: str, already: int, most: int) -> PoisonEvent:
        """The error for a letter that is one too many.

        Args:
            projection: The projection.
            already: How many are set aside in the generation.
            most: How many may be.
        """
        letters = "1 dead letter is" if already == 1 else f"{already:,} dead letters are"
        return PoisonEvent(
            projection,
            self.position,
            self.type,
            self.stream_id,
            f"{self.error} ({letters} set aside already, max_dead_letters is {most:,}: "
            f"`refold dead-letters list {projection}`; mend the handler, or raise the limit)",
        )


class HeldKeys:
    """The keys that are held in a generation.

    Args:
        stored: The keys as `letter_key` has them.
    """

    def __init__(self, stored: Iterable[list[Any]] = ()) -> None:
        self._stored = {orjson.dumps(key) for key in stored}

    def __contains__(self, key: Key) -> bool:
        return bool(self._stored) and orjson.dumps(letter_key(key)) in self._stored

    def __bool__(self) -> bool:
        return bool(self._stored)


def letter_key(key: Key) -> list[Any]:
    """A key as JSON, the list of its parts: equal keys, of any type, make equal JSON.

    Of keys that are paths it is what `refold.projection.key.stored_key` makes.
    """
    parts = key if isinstance(key, tuple) else (key,)
    return [_part(part) for part in parts]


def _part(part: Any) -> Any:
    if isinstance(part, (str, int)):
        return part
    if isinstance(part, Decimal) and part.is_finite():
        whole, point, fraction = format(part, "f").partition(".")
        text = whole + (point + fraction).rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    if isinstance(part, datetime) and part.tzinfo is not None:
        return part.astimezone(UTC).isoformat()
    if isinstance(part, (bytes, bytearray)):
        return part.hex()
    return str(part)


def _traced(cause: BaseException | None) -> str | None:
    if cause is None or cause.__traceback__ is None:
        return None
    # The first frame is the one that called the handler.
    inner = cause.__traceback__.tb_next or cause.__traceback__
    whole = "".join(traceback.format_exception(type(cause), cause, inner))
    return storable(whole)[-_TRACE_SIZE:]
