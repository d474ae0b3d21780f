"""What keeps a mirror from copying events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from refold.errors.base import RefoldError
from refold.errors.words import shortened

_LONGEST_NAME = 200


class UnknownMirror(RefoldError):
    """No mirror of that name is configured."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        accepted = ", ".join(sorted(known)) or "none: REFOLD_MIRRORS names no mirror"
        super().__init__(f"mirror: expected one of ({accepted}), got {shortened(name, 200)!r}")


class MirrorNotHere(RefoldError):
    """This worker lacks the mirror; another one may have it."""

    retryable = True
    # The same worker may be the next one to ask for work.
    retry_after = timedelta(milliseconds=500)


class MirrorBusy(RefoldError):
    """Another installation copies into this database under the same mirror's name."""

    def __init__(self, name: str, workflow_id: str, namespace: str, seen: str) -> None:
        super().__init__(
            f"mirror {name!r}: expected to be the only one of this name, got one that workflow "
            f"{workflow_id!r} of namespace {namespace!r} holds, and which copied at {seen}: cancel "
            "that one, or give this one another name"
        )


class MirrorConflict(RefoldError):
    """The log has an event already where a mirrored one is to land; nothing of its batch was."""

    def __init__(self, stream_id: str, version: int, position: int | None) -> None:
        self.stream_id = shortened(stream_id, _LONGEST_NAME)
        self.version = version
        self.position = position
        where = f"stream {self.stream_id!r}, version {version}"
        if position is None:
            super().__init__(
                f"{where}: expected an event that comes once, got it twice from the mirror's "
                "source: mend the source, or let it give no versions"
            )
            return
        super().__init__(
            f"{where}: expected a version that the log does not have, and position "
            f"{position:,} has one that this mirror has not copied there just now: somebody else "
            "writes the streams of this source, or its events were copied before, under another "
            "name. Take those away, or have the source name its streams differently; then resume"
        )


class MirrorSourceFailed(RefoldError):
    """The source of a mirror does not answer; it may later."""

    retryable = True
