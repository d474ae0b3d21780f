"""Reads an event file in blocks: its events, how far it is read, and a digest of its content."""

from __future__ import annotations

import gzip
import hashlib
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from refold.errors import InvalidEventFile, RefoldError
from refold.errors.words import printable
from refold.source.files.event_file import FileEvent, parse_line

_CHUNK_BYTES = 1 << 20
_MAX_LINE_BYTES = 32 << 20


class UnreadableEventFile(RefoldError):
    """An event file cannot be opened, read or unpacked; nothing was imported."""

    def __init__(self, source: Path, reason: str) -> None:
        super().__init__(f"{source}: {reason}; nothing was imported")


class _Counted:
    """A binary file that counts what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.bytes_read += len(block)
        return block

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)


class EventLines:
    """An event file that is read and parsed about a MiB at a time. Reads block the thread.

    Attributes:
        name: The file's name, without its directory.
        count: Lines read so far, blank ones too.
        total_bytes: The file's size as it is stored; None where it is unknown.
    """

    def __init__(self, source: Path, file: IO[bytes], total_bytes: int | None) -> None:
        self.count = 0
        self.total_bytes = total_bytes
        self.name = printable(source.name)
        self._source = source
        self._digest = hashlib.sha256()
        self._counted = _Counted(file)
        packed = source.suffix == ".gz"
        self._text = gzip.GzipFile(fileobj=self._counted) if packed else self._counted
        self._rest: bytes | None = b""

    @classmethod
    @contextmanager
    def open(cls, source: Path | Literal["-"]) -> Iterator[EventLines]:
        """Opens a file, or standard input for ``-``.

        Raises:
            UnreadableEventFile: It cannot be opened.
        """
        if str(source) == "-":
            yield cls(Path("standard input"), sys.stdin.buffer, None)
            return
        path = Path(source)
        try:
            file = path.open("rb")
        except OSError as error:
            raise UnreadableEventFile(path, error.strerror or str(error)) from error
        with file:
            status = path.stat()
            yield cls(path, file, status.st_size if stat.S_ISREG(status.st_mode) else None)

    @property
    def bytes_read(self) -> int:
        """Bytes read of the file as it is stored."""
        return self._counted.bytes_read

    @property
    def digest(self) -> str:
        """The SHA-256 of what has been read, unpacked, in hexadecimal."""
        return self._digest.hexdigest()

    def skip_rest(self) -> bool:
        """Reads on to the end, for the digest; returns whether that was possible."""
        try:
            while self._read():
                pass
        except UnreadableEventFile:
            return False
        return True

    def next_batch(self) -> list[FileEvent] | None:
        """The events of the next lines, none if all of those are blank; None after the last.

        Raises:
            InvalidEventFile: A line is not an event.
            UnreadableEventFile: The file cannot be read or unpacked.
        """
        if self._rest is None:
            return None
        block = self._read()
        *lines, rest = (self._rest + block).split(b"\n")
        self._rest = rest
        if not block:
            lines, self._rest = [rest] if rest else [], None
        batch = []
        for line in lines:
            self.count += 1
            if event := parse_line(self.count, line):
                batch.append(event)
        if len(rest) > _MAX_LINE_BYTES:
            raise InvalidEventFile(
                self.count + 1, f"expected at most {_MAX_LINE_BYTES} bytes, got a longer line"
            )
        return batch

    def _read(self) -> bytes:
        try:
            block = self._text.read(_CHUNK_BYTES)
        except EOFError as error:
            raise UnreadableEventFile(self._source, "the gzip data is cut short") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableEventFile(self._source, f"not valid gzip data: {error}") from error
        except OSError as error:
            raise UnreadableEventFile(self._source, error.strerror or str(error)) from error
        self._digest.update(block)
        return block
