"""A codec server, as Temporal's UI and command line ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refold.cli.codec.server import CodecServer
from refold.runtime.payloads.codec import EncryptingCodec
from refold.runtime.payloads.keys import load_keys


@contextmanager
def serving(key_file: Path, *origins: str) -> Iterator[str]:
    """A codec server for UIs at some origins; gives its address."""
    server = CodecServer(("127.0.0.1", 0), EncryptingCodec(load_keys(key_file)), origins)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
