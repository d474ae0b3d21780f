"""What is wrong with the rows of a read model."""

from __future__ import annotations

from refold.errors.base import RefoldError


class VerificationFailed(RefoldError):
    """A key that is folded again gives another row than the one that was built."""


class RowRejected(RefoldError):
    """The database refused a row, for instance by a check constraint of the read model."""


class SnapshotRejected(RefoldError):
    """A row of which a projection's `create` or `restore` makes nothing that can be used."""


class TargetBehind(RefoldError):
    """A row refers to one of another read model that has not come as far; it may soon."""

    retryable = True

    def __init__(self, projection: str, position: int, other: str, reached: int) -> None:
        self.position = position
        self.other = other
        self.reached = reached
        self.waits_for = (
            f"{other!r}, which is joined to it by a foreign key and is at {reached}: start "
            f"{other!r}, or backfill it with --incremental"
        )
        super().__init__(
            f"projection {projection!r} waits at event {position} for {self.waits_for}"
        )
