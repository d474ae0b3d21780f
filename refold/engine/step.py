"""A step as the engine sees it: what it shows and waits for, where it is, when it is to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from refold.runtime.telemetry.logs import about


@dataclass
class Waiting:
    """What a step of this process waits for.

    Attributes:
        sessions: The server processes of its connections.
        reading: Those of its connections to events in another database.
        said: What it says itself that it waits for.
        calls: Calls of people's code that last long; see `refold.runtime.threads.LASTING`.
    """

    sessions: set[int] = field(default_factory=set)
    reading: set[int] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


WAITING: ContextVar[Waiting | None] = ContextVar("waiting", default=None)
"""What the step at hand waits for; None outside of a step that is watched."""


def say(waiting_for: Sequence[str]) -> None:
    """What the step at hand waits for; empty when it goes on."""
    waiting = WAITING.get()
    if waiting is not None:
        waiting.said = list(waiting_for)


@dataclass
class Step:
    """What a step shows of itself while it is at work.

    Attributes:
        details: The latest news; they show in the Temporal UI under pending activities.
        is_stopping: Whether its worker is about to end: then it ends at the next chance.
    """

    details: dict[str, Any] = field(default_factory=dict)
    is_stopping: Callable[[], bool] = field(default_factory=lambda: lambda: False)

    def show(self, **details: Any) -> None:
        """Replaces the details; the next heartbeat takes them along.

        What is shown as ``waiting_for`` is told to the workflow, too, if it lasts.
        """
        self.details = details
        if "position" in details:
            about(position=details["position"])
        say(details.get("waiting_for", []))


@dataclass(frozen=True)
class Place:
    """Where a step is carried out.

    Attributes:
        namespace: Temporal's.
        task_queue: Where it was put.
        worker: What Temporal calls the worker.
        lacking_since: Since when it has been with workers that lack what it takes, in seconds of
            the epoch; None when it has not.
        note_lacking: Takes that along to the worker that has it next.
    """

    namespace: str
    task_queue: str
    worker: str
    lacking_since: float | None
    note_lacking: Callable[[float], None]
