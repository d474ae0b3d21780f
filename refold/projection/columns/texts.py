"""Text, labels of enumerations, and strings of bits."""

from __future__ import annotations

import enum
from typing import Any

from sqlalchemy import CHAR, Enum, String
from sqlalchemy.dialects import postgresql

from refold.projection.columns.kind import Kind, Settle, wrong


def text(name: str, kind: String) -> Kind:
    """Text; padded with spaces in a CHAR column."""
    return Kind(_text(name, kind), kind)


def _text(name: str, kind: String) -> Settle:
    length = kind.length
    padded = (length or 1) if isinstance(kind, CHAR) else 0
    most = padded or length
    expected = "text without NUL and lone surrogates" + (
        "" if most is None else f", at most {most} characters"
    )

    def settle(value: Any) -> Any:
        if type(value) is not str:
            raise wrong(name, "str", value)
        if most is None and value.isascii() and "\x00" not in value:
            return value
        if (most is not None and len(value) > most) or "\x00" in value or not _encodable(value):
            raise wrong(name, expected, value)
        return value.ljust(padded)

    return settle


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Label(str):
    """The value of a column of a Python enumeration: its label as text, which acts as the member.

    It equals both the label and the member. It has the member's ``name``, ``value`` and all else
    that text does not have. If the members are text, it equals that text, too. It is not the member
    itself: compare it with ``==``, not ``is``.
    """

    __slots__ = ("label", "member")
    label: str
    member: enum.Enum

    @classmethod
    def of(cls, label: str, member: enum.Enum) -> Label:
        """The label of a member."""
        # A member that is text compares its own text, so it must find that here.
        made = cls(str.__str__(member) if isinstance(member, str) else label)
        made.label = label
        made.member = member
        return made

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Label):
            return self.member is other.member
        if isinstance(other, enum.Enum):
            return self.member is other
        return isinstance(other, str) and (str.__eq__(self, other) or self.label == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # so that a copy of a label is a label
        return getattr(self.member, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Label.of, (self.label, self.member))


def enumerated(name: str, kind: Enum) -> Kind:
    """Labels: text, or `Label` for a Python enumeration, whose members are taken, too."""
    labels: dict[Any, str] = {label: label for label in kind.enums}
    members = kind.enum_class
    if members is not None:
        # SQLAlchemy says which member a label stands for, so that readers find the same one.
        found: dict[str, Any] = {o: kind._object_value_for_elem(o) for o in kind.enums}
        labels = {label: Label.of(label, found[label]) for label in kind.enums}
        labels |= {member: labels[label] for label, member in found.items()}
    expected = f"one of {', '.join(map(repr, kind.enums))}"

    def settle(value: Any) -> Any:
        known = labels.get(value) if isinstance(value, (str, enum.Enum)) else None
        if known is None:
            raise wrong(name, expected, value)
        return known

    base: Any = kind
    if members is not None:
        own = {"name": kind.name, "schema": kind.schema}
        base = postgresql.ENUM(*kind.enums, create_type=False, **own)
    if not kind.native_enum:
        base = String(kind.length)
    return Kind(settle, base, bind=_label, read=settle, freeze=_label, thaw=settle)


def _label(stored: str) -> str:
    return stored.label if isinstance(stored, Label) else stored


def bits(name: str, kind: postgresql.BIT) -> Kind:
    """Strings of 0 and 1: exactly as long as the column, or at most so long if it is varying."""
    length = kind.length
    if not kind.varying and length is None:
        length = 1
    most = "" if length is None else f" {'at most ' if kind.varying else ''}{length} of them"
    expected = f"text of 0 and 1,{most}" if most else "text of 0 and 1"

    def settle(value: Any) -> Any:
        if not isinstance(value, str) or value.strip("01"):
            raise wrong(name, expected, value)
        if length is not None and len(value) != length and not kind.varying:
            raise wrong(name, expected, value)
        if length is not None and len(value) > length:
            raise wrong(name, expected, value)
        return str(value)

    return Kind(settle, kind, read=settle, freeze=str, thaw=settle)
