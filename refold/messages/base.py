"""The base of all that crosses Temporal."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Message(BaseModel):
    """Base of what crosses Temporal or is kept as JSON: immutable, and open to fields to come.

    A field that this version does not know is passed over. An older worker beside a newer one, or
    a downgrade, must not fail the workflow tasks of what a newer one has begun. What people send
    is strict: `refold.requests.Request`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


def open_to_new(kind: type[BaseModel]) -> BeforeValidator:
    """For a field of a message that holds a request, or a part of one: here it is open, too.

    Args:
        kind: The class of the field, which is strict where people send it.
    """

    def load(value: Any) -> Any:
        return kind.model_validate(value, extra="ignore") if isinstance(value, dict) else value

    return BeforeValidator(load)
