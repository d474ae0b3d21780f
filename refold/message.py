"""The base of all that crosses Temporal."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Base of what crosses Temporal: immutable, and strict about its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
