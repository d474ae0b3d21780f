"""Checkpoints in Amazon DynamoDB: an item a live projection."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from refold.store.checkpoints.address import Address
from refold.store.checkpoints.record import Record

_FIELDS = ("position", "next", "fence")
# Some of these words are reserved.
_NAMES = {"#n": "name", "#p": "position", "#x": "next", "#f": "fence"}


class DynamoDbStore:
    """Keeps records in a table whose partition key is the text ``name``, by conditional writes.

    Args:
        address: The table, its region, and perhaps another endpoint. Credentials come from where
            AWS's own tools take them: environment, profile, role.
    """

    def __init__(self, address: Address) -> None:
        self._table = address.host
        self._options = {
            "region_name": address.options.get("region"),
            "endpoint_url": address.options.get("endpoint"),
        }
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._made: Any = None

    async def read(self, name: str) -> Record | None:
        """See `CheckpointStore`."""
        table = await self._client()
        found = await table.get_item(
            TableName=self._table, Key={"name": {"S": name}}, ConsistentRead=True
        )
        item = found.get("Item")
        return None if item is None else Record(*(int(item[field]["N"]) for field in _FIELDS))

    async def create(self, name: str, record: Record) -> bool:
        """See `CheckpointStore`."""
        table = await self._client()
        return await _held(
            table.put_item(
                TableName=self._table,
                Item={"name": {"S": name}, **_item(record)},
                ConditionExpression="attribute_not_exists(#n)",
                ExpressionAttributeNames={"#n": "name"},
            )
        )

    async def advance(self, name: str, expected: Record, new: Record) -> bool:
        """See `CheckpointStore`."""
        table = await self._client()
        return await _held(
            table.update_item(
                TableName=self._table,
                Key={"name": {"S": name}},
                UpdateExpression="SET #p = :position, #x = :next, #f = :fence",
                ConditionExpression="attribute_exists(#n) AND #p = :old AND #f = :old_fence",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={
                    **{f":{field}": value for field, value in _item(new).items()},
                    ":old": {"N": str(expected.position)},
                    ":old_fence": {"N": str(expected.fence)},
                },
            )
        )

    async def drop(self, name: str) -> None:
        """See `CheckpointStore`."""
        table = await self._client()
        await table.delete_item(TableName=self._table, Key={"name": {"S": name}})

    async def close(self) -> None:
        """See `CheckpointStore`."""
        await self._stack.aclose()
        self._made = None

    async def _client(self) -> Any:
        async with self._lock:
            if self._made is None:
                made = get_session().create_client("dynamodb", **self._options)
                self._made = await self._stack.enter_async_context(made)
        return self._made


async def _held(writing: Any) -> bool:
    """Whether the condition of a write held."""
    try:
        await writing
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
            raise
        return False
    return True


def _item(record: Record) -> dict[str, dict[str, str]]:
    return {field: {"N": str(getattr(record, field))} for field in _FIELDS}
