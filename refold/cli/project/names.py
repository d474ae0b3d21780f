"""What a new projection is called, and which row its events belong to: checked before writing."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold.errors import InvalidProjection, InvalidRequest
from refold.projection.declaration import Projection

STREAM = "stream_id"
COUNT = "events"
# Names that the file of a projection uses itself.
_TAKEN = {"happened", "annotations"}


@dataclass(frozen=True)
class NewProjection:
    """A projection that is to be written.

    Attributes:
        name: Its name.
        key: The paths of its key.
        types: The event types that it handles.
    """

    name: str
    key: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def module(self) -> str:
        """Its module, its variable and its table."""
        return self.name.replace("-", "_")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its primary key, one for each path."""
        last = [_snake(path.rsplit(".", 1)[-1]) for path in self.key]
        if len({*last, COUNT}) > len(last):
            return tuple(last)
        return tuple(_snake(path.replace(".", "_")) for path in self.key)

    def check(self) -> Projection:
        """The projection as its file will declare it.

        Raises:
            InvalidRequest: A name cannot be one, or the key or the types cannot be read.
        """
        for event_type in self.types:
            if not event_type.strip() or not event_type.isprintable():
                raise InvalidRequest(
                    f"--on: expected the name of an event type, got {event_type!r}"
                )
        if len({*self.types}) < len(self.types):
            raise InvalidRequest(f"--on: expected each type once, got {', '.join(self.types)}")
        for path in self.key:
            if path.split(".")[0] not in (STREAM, "data", "metadata") or not path.isprintable():
                raise InvalidRequest(
                    f"--key: expected stream_id, data.… or metadata.…, got {path!r}: other keys, "
                    "such as lower(…) and functions, are written into the file"
                )
        within = [a for a in self.key for b in self.key if f"{a}.".startswith(f"{b}.")]
        if len(within) > len(self.key) or len({*self.columns, COUNT}) <= len(self.columns):
            raise InvalidRequest(
                "--key: expected paths apart from each other, each with a column of its own, got "
                f"{', '.join(self.key)}"
            )
        try:
            return self._declared()
        except InvalidProjection as wrong:
            raise InvalidRequest(str(wrong)) from wrong

    def _declared(self) -> Projection:
        columns: list[Column[Any]] = [Column(name, Text, primary_key=True) for name in self.columns]
        table = Table(self.module, MetaData(), *columns, Column(COUNT, Integer, nullable=False))
        made = Projection(self.name, table=table, key=self.key if self.key[1:] else self.key[0])
        if keyword.iskeyword(self.module) or self.module in _TAKEN:
            raise InvalidRequest(
                f"NAME: expected one that can be a variable in the file, got {self.name!r}, which "
                "means something there"
            )
        made.on(*self.types)(lambda row, event: None)
        return made

    def sample(self) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """The data and the metadata of an event with this key, and the key."""
        body: dict[str, Any] = {}
        key = []
        for path, column in zip(self.key, self.columns, strict=True):
            value = f"{column}-1"
            key.append(value)
            *folders, name = path.split(".")
            if folders:
                inner = body
                for folder in folders:
                    inner = inner.setdefault(folder, {})
                inner[name] = value
        return body.get("data", {}), body.get("metadata", {}), tuple(key) if key[1:] else key[0]


def new_projection(name: str, key: Sequence[str], types: Sequence[str]) -> NewProjection:
    """What the options of the command say; several paths or types may be in one, with commas."""
    return NewProjection(name, _split(key), _split(types))


def _split(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for one in given for part in one.split(","))


def _snake(name: str) -> str:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    made = re.sub(r"\W", "_", parted, flags=re.ASCII).lower()
    return f"key_{made}" if not made[:1].isalpha() else made
