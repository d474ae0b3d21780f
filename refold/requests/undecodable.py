"""What cannot be decoded: it is handed on as such, to be refused by whoever was to take it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Undecodable:
    """An argument that came in a form that nobody can read.

    Attributes:
        why: What is wrong with it, without its content.
    """

    why: str

    def __str__(self) -> str:
        return f"something that cannot be read ({self.why})"
