"""What keeps a run from going on, here or at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from refold.errors.base import RefoldError

RESET = "a reset does not bring a run back, start a new one"
"""What is said of a workflow that was reset after its run had ended."""


class RunEnded(RefoldError):
    """The run's lease, partitions or generation are gone: it was ended from outside."""


class VersionChanged(RefoldError):
    """The run was planned for another version of the projection than this worker has."""


class NotDeployed(RefoldError):
    """This worker does not have the version that is to be built; another one does."""

    retryable = True

    def __init__(self, projection: str, wanted: int, known: int) -> None:
        here = f"version {known} at most" if known else "no version of it"
        super().__init__(
            f"projection {projection!r}: version {wanted} is to be built, this worker has {here}: "
            "it is left to a worker of newer code; cancel the run if there is to be none"
        )


class MissingRight(RefoldError):
    """This role may not do what only another one may; it can be granted while this is retried."""

    retryable = True


class RightDenied(RefoldError):
    """PostgreSQL refuses a statement, as the role lacks a right; it names role, right and GRANT."""


class NotOnThisWorker(RefoldError):
    """This worker lacks a projection, or a version of it, that another one may have."""

    retryable = True
    # The same worker may be the next one to ask for work.
    retry_after = timedelta(milliseconds=500)

    def __init__(
        self,
        worker: str,
        projection: str,
        version: int | None,
        *,
        has: str,
        others: Sequence[str],
        until: str,
    ) -> None:
        what = f"projection {projection!r}"
        if version is not None:
            what = f"version {version} of {what}"
        there = f"workers that have it: {', '.join(others)}; " if others else ""
        super().__init__(
            f"worker {worker} does not have {what} (it has {has}): {there}the step is left to one "
            f"that does until {until}: start one, or cancel"
        )


class NotOnAnyWorker(RefoldError):
    """A step has been left to other workers for so long that none can be expected any more."""


class Fenced(RefoldError):
    """Another attempt has taken over; this one must stop and change nothing more."""

    retryable = True
