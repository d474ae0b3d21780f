"""A real standby of a PostgreSQL, which can take its place."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg

from refold.stack.accounts import server_account
from refold.stack.initdb import binaries, environment
from refold.stack.postgres import EmbeddedPostgres
from refold.stack.process import ChildProcess
from tests.support.ports import free_port
from tests.support.runs import until

_SECONDS = 60.0


def _program(name: str, *arguments: str | Path, log: Path) -> None:
    child = ChildProcess(
        name,
        [binaries() / name, *arguments],
        log=log,
        environment=environment(),
        account=server_account(),
        cwd=Path("/"),
    )
    if child.wait(_SECONDS) != 0:
        raise child.ended()


def make_standby(primary: EmbeddedPostgres, directory: Path) -> EmbeddedPostgres:
    """A copy of a running server, in a directory of its own, that follows it. Not started."""
    directory.mkdir()
    _copy(primary, directory)
    return EmbeddedPostgres(directory, free_port())


def demote(directory: Path, new_primary: EmbeddedPostgres) -> None:
    """Makes a server that is not running a standby of the one that took its place."""
    shutil.rmtree(directory / "postgres")
    _copy(new_primary, directory)


def _copy(server: EmbeddedPostgres, directory: Path) -> None:
    directory.chmod(0o777)  # the servers' account writes there
    log = directory.parent / "basebackup.log"
    place = directory / "postgres"
    _program("pg_basebackup", "-D", place, "-R", "-c", "fast", "-d", server.url, log=log)


async def follow_closely(primary: EmbeddedPostgres) -> None:
    """From now on a commit waits for the standby, so that none is lost with the primary."""
    connection = await asyncpg.connect(primary.url)
    try:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await connection.execute("SELECT pg_reload_conf()")

        async def follows() -> bool:
            state = await connection.fetchval("SELECT sync_state FROM pg_stat_replication")
            return bool(state == "sync")

        await until(follows)
    finally:
        await connection.close()


async def promote(standby: EmbeddedPostgres) -> None:
    """Makes a standby the primary."""
    connection = await asyncpg.connect(standby.url)
    try:
        assert await connection.fetchval("SELECT pg_promote(wait_seconds => 30)")
    finally:
        await connection.close()


async def in_thread(server: EmbeddedPostgres, what: str) -> None:
    """Calls a blocking method of a server."""
    await asyncio.to_thread(getattr(server, what))
