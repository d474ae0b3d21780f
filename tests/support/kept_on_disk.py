"""A Temporal server whose database is a file, so that tests can search it for what must not be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from refold.messages.search_attributes import SEARCH_ATTRIBUTES
from refold.stack.temporal import EmbeddedTemporal
from tests.support.ports import free_port


@asynccontextmanager
async def server_on_disk(directory: Path) -> AsyncIterator[Client]:
    """A server with its files in a directory; gives a client of it that encrypts nothing."""
    server = EmbeddedTemporal(directory, free_port(), free_port(), SEARCH_ATTRIBUTES)
    await asyncio.to_thread(server.start)
    try:
        yield await Client.connect(server.address, data_converter=pydantic_data_converter)
    finally:
        await asyncio.to_thread(server.stop)


def files_of(directory: Path) -> dict[str, bytes]:
    """What the files of a directory hold, by their names."""
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
