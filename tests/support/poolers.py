"""A real PgBouncer in transaction mode, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from refold.runtime.database_url import parse_database_url
from refold.stack.process import ChildProcess
from tests.support.ports import free_port
from tests.support.runs import until

_SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 25
ignore_startup_parameters = {ignores}
max_client_conn = 200
logfile =
pidfile =
"""


def require_pgbouncer() -> str:
    """Where PgBouncer is; skips the test when it is nowhere."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("there is no pgbouncer here: `apt-get install pgbouncer` brings it")
    return found


@contextmanager
def pgbouncer(
    url: str, directory: Path, *, ignores: str = "", mode: str = "transaction"
) -> Iterator[tuple[str, Path]]:
    """The address of a database by way of PgBouncer in transaction mode, and PgBouncer's log.

    Args:
        url: The database's own address.
        directory: For its files.
        mode: When a session of the server is given to somebody else: after each "transaction",
            "statement" or "session".
        ignores: Startup parameters that it lets pass without a word, separated by commas.
    """
    program = require_pgbouncer()
    address = parse_database_url(url)
    own = free_port()
    place = directory / "pgbouncer"
    place.mkdir()
    config = place / "pgbouncer.ini"
    config.write_text(
        _SETTINGS.format(
            host=address.hosts[0],
            port=address.ports[0],
            user=address.user,
            own=own,
            ignores=ignores,
            mode=mode,
        )
        + ("user = nobody\n" if os.geteuid() == 0 else "")  # it does not run as root
    )
    log = directory / "pgbouncer.log"
    child = ChildProcess(
        "pgbouncer",
        [program, str(config)],
        log=log,
        environment=dict(os.environ),
    )
    try:
        yield f"postgresql://{address.user}@127.0.0.1:{own}/{address.database}", log
    finally:
        child.stop(10)


async def until_answers(url: str) -> None:
    """Waits until somebody can connect."""

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(url, timeout=2)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    await until(answers, 20)
