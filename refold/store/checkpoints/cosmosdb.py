"""Checkpoints in Azure Cosmos DB: an item a live projection."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from azure.core import MatchConditions
from azure.cosmos.aio import CosmosClient
from azure.cosmos.exceptions import (
    CosmosAccessConditionFailedError,
    CosmosResourceExistsError,
    CosmosResourceNotFoundError,
)
from azure.identity.aio import DefaultAzureCredential

from refold.store.checkpoints.address import Address
from refold.store.checkpoints.record import Record

CONNECTION_STRING = "AZURE_COSMOS_CONNECTIONSTRING"
"""The variable that Azure's own tools set for an account's key; without it, identities count."""


class CosmosDbStore:
    """Keeps records in a container whose partition key is ``/id``, by conditional writes.

    Args:
        address: The account, database and container. The key comes from the connection string in
            `CONNECTION_STRING`; without one, the credentials are those of Azure's own chain.
    """

    def __init__(self, address: Address) -> None:
        self._endpoint = address.options.get("endpoint") or f"https://{address.host}:443/"
        self._database, self._container = address.path
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._made: Any = None

    async def read(self, name: str) -> Record | None:
        """See `CheckpointStore`."""
        item = await self._item(name)
        return None if item is None else _record(item)

    async def create(self, name: str, record: Record) -> bool:
        """See `CheckpointStore`."""
        container = await self._opened()
        try:
            await container.create_item(_as_item(name, record))
        except CosmosResourceExistsError:
            return False
        return True

    async def advance(self, name: str, expected: Record, new: Record) -> bool:
        """See `CheckpointStore`."""
        item = await self._item(name)
        if item is None:
            return False
        there = _record(item)
        if (there.position, there.fence) != (expected.position, expected.fence):
            return False
        container = await self._opened()
        try:
            await container.replace_item(
                name,
                _as_item(name, new),
                etag=item["_etag"],
                match_condition=MatchConditions.IfNotModified,
            )
        except (CosmosAccessConditionFailedError, CosmosResourceNotFoundError):
            return False
        return True

    async def drop(self, name: str) -> None:
        """See `CheckpointStore`."""
        container = await self._opened()
        try:
            await container.delete_item(name, partition_key=name)
        except CosmosResourceNotFoundError:
            return

    async def close(self) -> None:
        """See `CheckpointStore`."""
        await self._stack.aclose()
        self._made = None

    async def _item(self, name: str) -> dict[str, Any] | None:
        container = await self._opened()
        try:
            found: dict[str, Any] = await container.read_item(name, partition_key=name)
        except CosmosResourceNotFoundError as error:
            if error.sub_status:  # the container or the database is missing, not the item
                raise
            return None
        return found

    async def _opened(self) -> Any:
        async with self._lock:
            if self._made is None:
                credential: Any = _key()
                if credential is None:
                    credential = await self._stack.enter_async_context(DefaultAzureCredential())
                account = await self._stack.enter_async_context(
                    # Read from the region that is written: others may be behind.
                    CosmosClient(self._endpoint, credential)
                )
                database = account.get_database_client(self._database)
                self._made = database.get_container_client(self._container)
        return self._made


def _key() -> str | None:
    parts = os.environ.get(CONNECTION_STRING, "").split(";")
    pairs = dict(part.split("=", 1) for part in parts if "=" in part)
    return pairs.get("AccountKey")


def _as_item(name: str, record: Record) -> dict[str, str]:
    # As texts: its numbers are doubles, which do not hold all positions.
    return {"id": name, **{field: str(value) for field, value in vars(record).items()}}


def _record(item: dict[str, Any]) -> Record:
    return Record(int(item["position"]), int(item["next"]), int(item["fence"]))
