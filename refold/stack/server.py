"""What the embedded servers have in common: they start, answer, stop and restart."""

from __future__ import annotations

from abc import ABC, abstractmethod

from refold.stack.process import ChildProcess


class EmbeddedServer(ABC):
    """A server that is a child of this process. Safe to use from any thread, one at a time.

    Errors: PartMissing, DataDirUnreachable, ServerEnded and ServerNotReady, all from `start` and
    `restart`.
    """

    _stop_seconds: float

    def __init__(self) -> None:
        self._process: ChildProcess | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients connect, whether or not it runs now."""

    @property
    def process(self) -> ChildProcess | None:
        """The server; None before the start and after a stop."""
        return self._process

    @abstractmethod
    def launch(self) -> None:
        """Starts the server without waiting."""

    @abstractmethod
    def _await_ready(self, process: ChildProcess) -> None: ...

    def start(self) -> str:
        """Starts the server, waits until it answers, and returns its `address`."""
        self.launch()
        try:
            return self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self) -> str:
        """Waits until the launched server answers, and returns its `address`."""
        assert self._process, "launch first"
        self._await_ready(self._process)
        return self.address

    def stop(self) -> None:
        """Stops it in order; does nothing when it is stopped."""
        if self._process:
            self._process.stop(self._stop_seconds)
            self._process = None

    def restart(self) -> None:
        """Stops it and starts it again on the same ports."""
        self.stop()
        self.start()
