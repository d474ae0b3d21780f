"""PostgreSQL, Temporal and workers on one data directory, which start and stop together.

start  lock → servers, side by side → migrate → workers → <data_dir>/env
stop   the same backwards; a failed or interrupted start stops what it had started
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Self, TypeVar

from refold.stack import leftovers
from refold.stack.files import write_own
from refold.stack.lock import DataDirLock
from refold.stack.ports import choose_ports
from refold.stack.postgres import EmbeddedPostgres
from refold.stack.temporal import EmbeddedTemporal
from refold.stack.workers.changes import Changes
from refold.stack.workers.pool import OwnEnvironment, Polls, Workers

Server = TypeVar("Server", EmbeddedPostgres, EmbeddedTemporal)

Migrate = Callable[[str], None]

_SHARED = ("REFOLD_PROJECTIONS", "REFOLD_EVENTS")
"""What the command line must have as the workers have it."""


class Stack:
    """The embedded stack, as a context manager or by `start` and `stop`.

    `migrate` is called with the database's URL once it answers, before the workers start.
    `port_base` N means the ports N (Temporal), N+1 (its UI) and N+2 (PostgreSQL); without it
    they are 7233, 8233 and 54321, each replaced by a free one when taken. `keywords` are the
    search attributes that Temporal has. `own_to_worker` says what the environment of one worker has
    that the others' have not. Python files in the folders of `reload` start the workers anew when
    they change; that a worker is ready is told once `polls` says so of its pid.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int = 1,
        port_base: int | None = None,
        migrate: Migrate | None = None,
        keywords: Sequence[str] = (),
        own_to_worker: OwnEnvironment | None = None,
        reload: Sequence[Path] = (),
        polls: Polls | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._port_base = port_base
        self._migrate = migrate
        self._keywords = keywords
        self._lock = DataDirLock(self.data_dir)
        changes = Changes(reload, without=[self.data_dir]) if reload else None
        self._workers = Workers(self.data_dir, workers, own_to_worker, changes=changes, polls=polls)
        self._postgres: EmbeddedPostgres | None = None
        self._temporal: EmbeddedTemporal | None = None

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The database server; RuntimeError before the start."""
        return _started(self._postgres)

    @property
    def temporal(self) -> EmbeddedTemporal:
        """The Temporal server; RuntimeError before the start."""
        return _started(self._temporal)

    @property
    def database_url(self) -> str:
        """`postgresql://…` of the database `refold`."""
        return self.postgres.url

    @property
    def temporal_address(self) -> str:
        """`host:port` of Temporal."""
        return self.temporal.address

    @property
    def ui_url(self) -> str:
        """Where a browser finds Temporal's UI."""
        return self.temporal.ui_url

    @property
    def worker_pids(self) -> list[int]:
        """The pids of the workers that run now."""
        return self._workers.pids

    @property
    def environment(self) -> dict[str, str]:
        """The content of `<data_dir>/env`: variables that lead clients and workers here."""
        return {
            "REFOLD_DATABASE_URL": self.database_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "REFOLD_UI_URL": self.ui_url,
            **{name: os.environ[name] for name in _SHARED if name in os.environ},
        }

    def start(self) -> None:
        """Returns once everything is ready; raises a StackError, with nothing left running."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._prepare()
            # Temporal comes up while PostgreSQL makes its data directory.
            self.temporal.launch()
            self.postgres.launch()
            self.postgres.wait_ready()
            self.temporal.wait_ready()
            if self._migrate:
                self._migrate(self.database_url)
            self._workers.start(self._worker_environment())
            self._write_env_file()
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Starts again workers that ended; call it about twice a second.

        Raises ServerEnded, with the tail of its log, when PostgreSQL or Temporal ended unasked.
        """
        for server in (self.postgres.process, self.temporal.process):
            if server and not server.running:
                raise server.ended()
        self._workers.check()

    def stop(self) -> None:
        """Stops workers, Temporal, PostgreSQL, in this order; does nothing when stopped."""
        if not self._lock.held:
            return
        self._env_file.unlink(missing_ok=True)
        self._workers.stop()
        if self._temporal:
            self._temporal.stop()
        if self._postgres:
            self._postgres.stop()
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _env_file(self) -> Path:
        return self.data_dir / "env"

    def _prepare(self) -> None:
        self._env_file.unlink(missing_ok=True)
        write_own(self.data_dir / ".gitignore", "*\n")
        # Before the ports are chosen: what a crashed run left may still have them.
        leftovers.stop_postgres(self.data_dir / "postgres")
        leftovers.stop_temporal(self.data_dir / "temporal.db")
        ports = choose_ports(self._port_base)
        self._postgres = EmbeddedPostgres(self.data_dir, ports.postgres)
        self._temporal = EmbeddedTemporal(self.data_dir, ports.temporal, ports.ui, self._keywords)

    def _worker_environment(self) -> dict[str, str]:
        # The user's own Temporal settings (TLS, API key, namespace) are for some other service.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TEMPORAL_") or name == "TEMPORAL_DEBUG"
        }
        return {**inherited, **self.environment, "TEMPORAL_CONFIG_FILE": os.devnull}

    def _write_env_file(self) -> None:
        draft = self.data_dir / "env.new"
        draft.unlink(missing_ok=True)
        lines = "".join(f"{name}={quote(value)}\n" for name, value in self.environment.items())
        write_own(draft, lines, 0o600)
        draft.replace(self._env_file)


def _started(server: Server | None) -> Server:
    if server is None:
        raise RuntimeError("The stack has not been started: call start() first")
    return server
