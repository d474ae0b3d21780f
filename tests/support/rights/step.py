"""A step: what is prepared with all rights, and what is done with one less."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support.rights.stage import Stage

Prepare = Callable[[Stage], Awaitable[None]]
Act = Callable[[Stage], Awaitable[str]]


async def nothing(stage: Stage) -> None:
    """Prepares nothing."""


@dataclass(frozen=True)
class Step:
    """Something that is done.

    Attributes:
        name: For people.
        act: Does it; what is said when it fails, nothing when it works.
        prepare: What is there before.
        mirrors: Whether the workers copy events.
    """

    name: str
    act: Act
    prepare: Prepare = nothing
    mirrors: bool = False
