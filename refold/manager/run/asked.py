"""Requests as programs give them: an object, a dict, or keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from refold.errors import InvalidRequest
from refold.requests.runs import Request
from refold.requests.validation import accept_request

R = TypeVar("R", bound=Request)


def request_of(
    kind: type[R], name: str, request: R | Mapping[str, Any] | None, fields: Mapping[str, Any]
) -> R:
    """The request that a call makes.

    Args:
        kind: Its class.
        name: The projection that the call names.
        request: A request, or its fields; None for the fields below.
        fields: Instead: its fields; those that are None are left out.

    Raises:
        InvalidRequest: Both are given, or it is for another projection, or no such request; the
            message names the field.
    """
    given = {field: value for field, value in fields.items() if value is not None}
    if request is not None and given:
        raise InvalidRequest(
            f"{next(iter(given))}: expected as a field of the request that is given, too, got it "
            "beside the request: give one of the two"
        )
    if isinstance(request, BaseModel):
        if not isinstance(request, kind):
            raise InvalidRequest(
                f"request: expected a {kind.__name__}, a dict or fields, got a "
                f"{type(request).__name__}"
            )
        made = request
    else:
        said: dict[str, Any] = {"projection": name, **(request or given)}
        made = accept_request([said], kind)
    if made.projection != name:
        raise InvalidRequest(
            f"projection: expected {name!r}, which the call names, got a request for "
            f"{made.projection!r}: name one projection"
        )
    return made
