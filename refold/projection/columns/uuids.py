"""UUIDs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Uuid

from refold.projection.columns.kind import Kind, wrong


def unique_id(name: str, kind: Uuid[Any]) -> Kind:
    """UUIDs, or with ``as_uuid=False`` their text, in small letters with hyphens."""

    def settle(value: Any) -> Any:
        if type(value) is UUID:
            return value
        if isinstance(value, UUID):  # the driver has a class of its own, which orjson does not know
            return UUID(int=value.int)
        raise wrong(name, "UUID", value)

    if kind.as_uuid:
        return Kind(settle, kind, read=settle, freeze=str, thaw=UUID)

    def settle_text(value: Any) -> Any:
        if not isinstance(value, (str, UUID)):
            raise wrong(name, "a UUID as text", value)
        try:
            return str(UUID(str(value)))
        except ValueError:
            raise wrong(name, "a UUID as text", value) from None

    return Kind(settle_text, kind, read=settle_text)
