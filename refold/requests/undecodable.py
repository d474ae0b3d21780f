"""Input that cannot be decoded: the workflow is given this instead, and refuses it in words."""

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
