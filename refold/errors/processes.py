"""What ends several worker processes together."""

from __future__ import annotations

from typing import Self

from refold.errors.base import RefoldError


class WorkerProcessesEnded(RefoldError):
    """Worker processes that are kept up by another one have ended, and not in order."""

    @classmethod
    def at_once(cls, number: int, words: str) -> Self:
        """One cannot work as configured, and no other has been able to."""
        return cls(
            f"worker process {number} cannot work, and neither can the others"
            f"{_said(words)}: mend that, then start again"
        )

    @classmethod
    def again_and_again(
        cls, number: int, times: int, seconds: float, status: str, words: str
    ) -> Self:
        """One has ended soon after each start."""
        return cls(
            f"worker process {number} has ended {times} times in a row within {seconds:.0f} s, the "
            f"last time with {status}{_said(words)}: all are stopped; see the log above for why, "
            "then start again"
        )

    @classmethod
    def when_asked(cls, number: int, status: str, words: str) -> Self:
        """One was asked to stop, and ended otherwise than in order."""
        return cls(
            f"worker process {number} was asked to stop, and ended with {status}{_said(words)}"
        )

    @classmethod
    def killed(cls) -> Self:
        """A second signal did not let them finish."""
        return cls(
            "worker processes were killed by a second signal: what they had in hand since the last "
            "commit is done again by others"
        )


def _said(words: str) -> str:
    return f" ({words})" if words else ""
