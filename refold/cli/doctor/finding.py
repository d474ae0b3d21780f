"""What a check has found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    WRONG = "wrong"
    """Something does not work, or will not: it is to be mended."""

    MIND = "mind"
    """It works; it is slow, or to be known."""

    UNSEEN = "not looked at"
    """It could not be seen from here."""

    OK = "ok"
    """Nothing is to be done."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: How bad it is.
        found: What it is, in a sentence without values of rows and without passwords.
        remedy: The statement or command that mends it, or what to do; empty when `found` says so,
            or nothing is to be done.
        check: The name of the check.
    """

    level: Level
    found: str
    remedy: str = ""
    check: str = ""


def ok(found: str) -> Finding:
    """Nothing is to be done."""
    return Finding(Level.OK, found)


def mind(found: str, remedy: str = "") -> Finding:
    """Something to be known."""
    return Finding(Level.MIND, found, remedy)


def wrong(found: str, remedy: str = "") -> Finding:
    """Something to be mended."""
    return Finding(Level.WRONG, found, remedy)


def unseen(found: str) -> Finding:
    """Something that could not be seen."""
    return Finding(Level.UNSEEN, found)
