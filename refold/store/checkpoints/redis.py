"""Checkpoints in Redis, or in what speaks its protocol: a hash a live projection."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import redis.asyncio as client

from refold.store.checkpoints.address import Address
from refold.store.checkpoints.record import Record

_CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'position', ARGV[1], 'next', ARGV[2], 'fence', ARGV[3])
return 1
"""
_ADVANCE = """
local found = redis.call('HMGET', KEYS[1], 'position', 'fence')
if found[1] ~= ARGV[4] or found[2] ~= ARGV[5] then return 0 end
redis.call('HSET', KEYS[1], 'position', ARGV[1], 'next', ARGV[2], 'fence', ARGV[3])
return 1
"""


class RedisStore:
    """Keeps each record in a hash ``refold:<name>``; conditional writes are Lua scripts.

    Args:
        address: The server; redis-py reads user, password, TLS and all else of it.
    """

    def __init__(self, address: Address) -> None:
        self._client = client.from_url(address.url, decode_responses=True)

    async def read(self, name: str) -> Record | None:
        """See `CheckpointStore`."""
        found = await cast(
            Awaitable[list[Any]],
            self._client.hmget(_key(name), ["position", "next", "fence"]),
        )
        if any(one is None for one in found):
            return None
        return Record(*map(int, found))

    async def create(self, name: str, record: Record) -> bool:
        """See `CheckpointStore`."""
        return await self._run(_CREATE, name, *_values(record))

    async def advance(self, name: str, expected: Record, new: Record) -> bool:
        """See `CheckpointStore`."""
        before = (str(expected.position), str(expected.fence))
        return await self._run(_ADVANCE, name, *_values(new), *before)

    async def drop(self, name: str) -> None:
        """See `CheckpointStore`."""
        await self._client.delete(_key(name))

    async def close(self) -> None:
        """See `CheckpointStore`."""
        await self._client.aclose()

    async def _run(self, script: str, name: str, *values: str) -> bool:
        return bool(await self._client.eval(script, 1, _key(name), *values) == 1)


def _key(name: str) -> str:
    return f"refold:{name}"


def _values(record: Record) -> tuple[str, str, str]:
    return str(record.position), str(record.next), str(record.fence)
