"""What a mirror is started with."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from refold.requests.limits import BatchSize, Rate

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""The name of a mirror: what stands after the colon in REFOLD_MIRRORS."""


class MirrorRequest(BaseModel):
    """What `Mirror` is started with.

    Attributes:
        mirror: The mirror's name.
        batch_size: Events in one transaction, at most.
        events_per_second: At most; 0 for no limit.
        requested_by: Who asks, for the record.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    example: ClassVar[str] = '{"mirror": "kurrent"}'

    mirror: Annotated[str, Field(max_length=200, pattern=NAME)]
    batch_size: BatchSize = 1000
    events_per_second: Rate = 0
    requested_by: Annotated[str, Field(max_length=1000)] | None = None
