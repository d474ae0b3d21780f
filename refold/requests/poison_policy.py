"""What is done with a poison event: the policy, of a projection or of a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 100
"""Dead letters in a generation, unless something else is said."""


class OnPoison(StrEnum):
    """What is done with an event that a handler or a key cannot take."""

    FAIL = "fail"
    SET_ASIDE = "set_aside"


class Poison(BaseModel):
    """The settings for poison events; a request's override the projection's own.

    Attributes:
        on_poison: ``fail`` (default): the run, or the live projection, stops there. ``set_aside``:
            the event becomes a dead letter, and its key is held from further events.
        max_dead_letters: How many dead letters (inclusive) a generation may have; one more stops
            the run or the live projection. 100 when left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_poison: OnPoison | None = None
    max_dead_letters: Annotated[int, Field(ge=0, le=100_000)] | None = None

    @property
    def sets_aside(self) -> bool:
        """Whether poison events become dead letters."""
        return self.on_poison is OnPoison.SET_ASIDE

    def poison(self, declared: Poison) -> Poison:
        """These settings; the declared ones, then the defaults, stand for those left out."""
        most = self.max_dead_letters
        if most is None:
            most = declared.max_dead_letters
        return Poison(
            on_poison=self.on_poison or declared.on_poison or OnPoison.FAIL,
            max_dead_letters=MOST if most is None else most,
        )
