"""Each way of keeping a log in brief: all that keeps a position from being settled, one by one.

The whole suite of this folder runs over them in the soak: those of known event stores, too.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.integration.settled.conftest import OTHERS
from tests.support.kept_stores import STORES
from tests.support.settling import Reader, name_of, write


@pytest.mark.parametrize("kept", [*OTHERS, *STORES], ids=name_of, indirect=True)
async def test_late_commits_rollbacks_and_savepoints(
    reader: Reader, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    assert await reader.look() == []
    await one.execute("BEGIN")
    late = await write(one)
    soon = await write(other)
    assert late < soon
    assert await reader.look() == []
    assert [writer.pid for writer in reader.head.waiting_for] == [one.get_server_pid()]
    await one.execute("COMMIT")
    assert await reader.look() == [late, soon]
    # Its gap stays for good.
    await one.execute("BEGIN")
    await write(one)
    after = await write(other)
    assert await reader.look() == []
    await one.execute("ROLLBACK")
    assert await reader.look() == [after]
    await one.execute("BEGIN")
    await one.execute("SAVEPOINT s")
    await write(one)
    between = await write(other)
    assert await reader.look() == []
    await one.execute("ROLLBACK TO SAVEPOINT s")
    assert await reader.look() == []
    last = await write(one)
    await one.execute("COMMIT")
    assert [*await reader.look(), *await reader.look()] == [between, last]
