"""An event of which not all is sent: it shows what was sent, and refuses all else."""

# Odd shapes are what this is about.
# ruff: noqa: PLC3002, PLW0108, RUF005, SIM105, SIM300

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold import Event
from refold.projection.narrowed.reads import ALL
from refold.projection.narrowed.sent_event import NotSent, ReadsMore, Sent
from tests.support.handler_shapes import EVENT, matched, unpacked


def sent(*read: str) -> tuple[Sent, Event]:
    made = Sent(frozenset(read))
    values = [getattr(EVENT, name) for name in made.fields]
    return made, tuple.__new__(made.event, [*values, "key"])


@given(st.sets(st.sampled_from(sorted(ALL)), max_size=6))
def test_it_shows_what_was_sent(read: set[str]) -> None:
    made, event = sent(*read)
    for name in Event._fields:
        if name in {*read, "position", "stream_id", "type"}:
            assert getattr(event, name) == getattr(EVENT, name)
        elif not made.is_whole:
            with pytest.raises(NotSent):
                getattr(event, name)


@pytest.mark.parametrize(
    "ask",
    [
        lambda event: event.metadata,
        lambda event: event[0],
        lambda event: [*event],
        lambda event: tuple(event),
        lambda event: (lambda *all_of_it: all_of_it)(*event),
        lambda event: event._asdict(),
        lambda event: event._replace(version=1),
        lambda event: event == EVENT,
        lambda event: EVENT == event,
        lambda event: event != EVENT,
        lambda event: event < EVENT,
        lambda event: {event},
        lambda event: len(event),
        lambda event: 7 in event,
        lambda event: repr(event),
        lambda event: f"{event}",
        lambda event: pickle.dumps(event),
        lambda event: copy.copy(event),
        lambda event: event + (1,),
        lambda event: unpacked(None, event),
        lambda event: matched(None, event),
    ],
)
def test_it_refuses_what_was_not(ask: Callable[[Event], Any]) -> None:
    made, event = sent("data")
    assert isinstance(event, Event)
    made.require_enough()
    with pytest.raises(NotSent):
        ask(event)
    with pytest.raises(ReadsMore):
        made.require_enough()


def test_silence_about_it_does_not_help() -> None:
    made, event = sent("data")
    try:
        event.metadata  # noqa: B018
    except BaseException:
        pass
    with pytest.raises(ReadsMore, match="metadata"):
        made.require_enough()
