"""The key file: which keys encrypt and decrypt what crosses Temporal.

One key a line, ``<id> <32 bytes in base64>``. The first encrypts, all decrypt. A first line that is
``plain`` encrypts nothing: for the time in which not every process has the file yet, or any more.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from refold.errors import ConfigurationError

KEY_BYTES = 32
PLAIN = "plain"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXPECTED = "expected `<id> <32 bytes in base64>`, as `refold codec new-key FILE` writes it"


@dataclass(frozen=True)
class PayloadKeys:
    """The keys of a process.

    Attributes:
        source: Where they are from, for messages.
        first: The id of the key that encrypts; None when payloads are left plain.
        by_id: All keys, of 32 bytes each.
    """

    source: str
    first: str | None
    by_id: Mapping[str, bytes] = field(repr=False)


def load_keys(path: Path) -> PayloadKeys:
    """Reads a key file.

    Raises:
        ConfigurationError: It cannot be read, or a line is not a key; no key is in the message.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"REFOLD_PAYLOAD_KEY_FILE: {path} cannot be read ({_why(error)}); "
            "`refold codec new-key FILE` makes one"
        ) from None
    return parse_keys(text, f"REFOLD_PAYLOAD_KEY_FILE ({path})")


def parse_keys(text: str, source: str) -> PayloadKeys:
    """Reads the lines of a key file.

    Args:
        text: The lines. Empty ones, and those that begin with ``#``, say nothing.
        source: Where they are from, for messages.

    Raises:
        ConfigurationError: A line is not a key; no key is in the message.
    """
    keys: dict[str, bytes] = {}
    first: str | None = None
    is_begun = False
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{source}, line {number}"
        if words == [PLAIN]:
            if is_begun:
                raise ConfigurationError(f"{where}: expected `{PLAIN}` before all keys, if at all")
            is_begun = True
            continue
        name, key = _parsed(words, where)
        if name in keys:
            raise ConfigurationError(f"{where}: expected each id once, got {name!r} again")
        if not is_begun:
            first = name
        is_begun = True
        keys[name] = key
    if not keys:
        raise ConfigurationError(f"{source}: expected at least one key, got none; {_EXPECTED}")
    return PayloadKeys(source, first, keys)


def _parsed(words: list[str], where: str) -> tuple[str, bytes]:
    # What stands in a wrong line may be a key: it is not told.
    if len(words) != 2:
        raise ConfigurationError(f"{where}: {_EXPECTED}, got {len(words)} words")
    name, encoded = words
    if not _ID.fullmatch(name) or name == PLAIN:
        raise ConfigurationError(
            f"{where}: expected an id of at most 64 letters, digits, dots, dashes and underscores"
        )
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{where}: {_EXPECTED}, got no base64") from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{where}: {_EXPECTED}, got {len(key)} bytes")
    return name, key


def add_key(path: Path, *, last: bool = False) -> str:
    """Puts a new key into a key file, which is made if it is not there, for its owner only.

    Args:
        path: The file. It is replaced at once: whoever reads it finds the old or the new one.
        last: Whether the key stands after all others, so that it decrypts only, for now.

    Returns:
        The key's id.

    Raises:
        ConfigurationError: The file is there and is no key file, or cannot be written.
    """
    key = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    try:
        there = path.read_text() if path.exists() else ""
        taken = parse_keys(there, str(path)).by_id if there.strip() else {}
        name = _new_id(taken)
        lines = there.splitlines()
        lines.insert(len(lines) if last else _first_key(lines), f"{name} {key}")
        made = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w") as file:
            file.write("\n".join(lines) + "\n")
        made.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: it cannot be written ({_why(error)})") from None
    return name


def _first_key(lines: list[str]) -> int:
    """Where the first line stands that is a key, or `plain` in its place."""
    for number, line in enumerate(lines):
        if line.split() and not line.lstrip().startswith("#"):
            return number + 1 if line.split() == [PLAIN] else number
    return len(lines)


def _new_id(taken: Mapping[str, bytes]) -> str:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    name, number = today, 1
    while name in taken:
        number += 1
        name = f"{today}.{number}"
    return name


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not text"
