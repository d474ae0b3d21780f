"""The embedded stack as its users meet it: a process of its own, signalled from outside."""

import asyncio
import contextlib
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest
from temporalio.client import Client

from refold.stack.errors import PortTaken, ServerEnded
from refold.stack.ports import Ports, choose_ports, is_free
from refold.stack.postgres import EmbeddedPostgres
from refold.stack.process import ChildProcess
from refold.stack.workers import pool as workers
from refold.stack.workers.pool import Workers
from refold.worker.processes.place import numbered
from tests.support.soaking import soak

DRIVER = """
import sys
from pathlib import Path
from refold.stack.dev import run_until_signalled
from refold.stack.stack import Stack

stack = Stack(Path(sys.argv[1]), workers=0, port_base=int(sys.argv[2]))
sys.exit(run_until_signalled(stack, lambda ready: print("announced", flush=True)))
"""


@dataclass(frozen=True)
class Place:
    """A data directory and ports of its own; tests that share it start and stop in turn."""

    data_dir: Path
    port_base: int

    @property
    def ports(self) -> Ports:
        return Ports(self.port_base, self.port_base + 1, self.port_base + 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("stack") / "data", free_port_base())


def free_port_base() -> int:
    while True:
        base = random.randrange(20_000, 32_000)
        if all(is_free(base + offset) for offset in range(3)):
            return base


def eventually(condition: Callable[[], object], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Driver:
    """A process that keeps a stack up, and the children it was seen to have."""

    def __init__(self, place: Place) -> None:
        self.env_file = place.data_dir / "env"
        place.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._log = place.data_dir.with_suffix(".driver.log")
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, place.data_dir, str(place.port_base)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.seen: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def env(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())

    def look(self) -> set[str]:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen.update(psutil.Process(self.process.pid).children(recursive=True))
        names = set()
        for child in self.seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                names.add(child.name())
        return names

    def until_announced(self) -> None:
        eventually(
            lambda: "announced" in self.output or self.process.poll() is not None, "ready", 60
        )
        assert self.process.poll() is None, self.output
        assert {"postgres", "temporal"} <= self.look()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def all_gone(self) -> bool:
        return not any(alive(child) for child in self.seen)


@contextlib.contextmanager
def driving(place: Place) -> Iterator[Driver]:
    driver = Driver(place)
    try:
        yield driver
    finally:
        if driver.process.poll() is None:
            driver.end(signal.SIGKILL)
        eventually(driver.all_gone, "children gone")


def query(url: str, *statements: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGTERM, *soak(signal.SIGINT)])
def test_up_refused_twice_killed_and_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Killed, it takes its children along; its data persists."""
    monkeypatch.setenv("REFOLD_EVENTS", "shop.events:source")
    monkeypatch.setenv("REFOLD_PROJECTIONS", "shop.one, shop.two")
    with driving(place) as driver:
        while driver.look() < {"postgres", "temporal"}:
            assert not driver.env_file.exists()
            assert driver.process.poll() is None, driver.output
        driver.until_announced()
        env = driver.env()
        assert env == {
            "REFOLD_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{place.ports.postgres}/refold",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{place.ports.temporal}",
            "REFOLD_UI_URL": f"http://127.0.0.1:{place.ports.ui}",
            "REFOLD_PROJECTIONS": "'shop.one, shop.two'",
            "REFOLD_EVENTS": "shop.events:source",
        }
        database = env["REFOLD_DATABASE_URL"]
        assert str(query(database, "SHOW server_version_num")) >= "180000"
        assert query(database, "SELECT datlocale FROM pg_database LIMIT 1") == "C.UTF-8"
        asyncio.run(Client.connect(env["TEMPORAL_ADDRESS"]))
        with urllib.request.urlopen(env["REFOLD_UI_URL"]) as page:
            assert page.status == 200
        assert (place.data_dir / ".gitignore").read_text() == "*\n"

        with driving(place) as second:
            assert second.process.wait(15) == 1
            assert "StackAlreadyRunning" in second.output
            assert f"held by pid {driver.process.pid}" in second.output
        assert driver.env() == env

        query(
            database,
            "CREATE TABLE IF NOT EXISTS kept (n int)",
            "TRUNCATE kept",
            "INSERT INTO kept VALUES (42) RETURNING n",
        )
        driver.end(signal.SIGKILL)
        eventually(driver.all_gone, "children of a killed parent gone")
        assert driver.env_file.exists()

    with driving(place) as again:
        again.until_announced()
        assert query(again.env()["REFOLD_DATABASE_URL"], "SELECT n FROM kept") == 42
        assert again.end(number) == 0, again.output
        assert again.all_gone()
        assert not again.env_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, *soak(signal.SIGTERM)])
def test_signal_during_the_start_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    place = Place(tmp_path / "data", free_port_base())
    with driving(place) as driver:
        eventually(lambda: "initdb" in driver.look(), "initdb started")
        assert driver.end(number) == 0, driver.output
        assert driver.all_gone()
        assert "announced" not in driver.output
        assert not driver.env_file.exists()
        assert not (place.data_dir / "postgres").exists()


def test_postgres_restarts_recovers_and_replaces_its_leftover(place: Place) -> None:
    postgres = EmbeddedPostgres(place.data_dir, place.ports.postgres)
    successor = EmbeddedPostgres(place.data_dir, place.ports.postgres)
    postgres.start()
    try:
        query(postgres.url, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1) RETURNING n")
        postgres.restart()
        query(postgres.url, "INSERT INTO t VALUES (2) RETURNING n")
        postgres.kill()
        assert not (place.data_dir / "postgres" / "postmaster.pid").exists()
        postgres.start()
        assert query(postgres.url, "SELECT sum(n) FROM t") == 3
        left = postgres.process
        successor.start()
        assert left is not None
        assert not left.running
        assert query(successor.url, "DROP TABLE t", "SELECT 1") == 1
    finally:
        successor.stop()
        postgres.stop()


def test_a_worker_that_ended_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "COMMAND", _TALKING)
    pool = Workers(tmp_path, 2)
    pool.start({})
    try:
        stays, ends = pool.pids

        def checked_count() -> int:
            pool.check()
            return len(pool.pids)

        eventually(lambda: "ready" in (tmp_path / "worker-2.log").read_text(), "its words")
        psutil.Process(ends).kill()
        eventually(lambda: checked_count() == 1, "the end is noticed")
        eventually(lambda: checked_count() == 2, "the restart")
        assert pool.pids[0] == stays
        line = (
            "worker 2 ended: signal SIGKILL after 'ready?[2J'. It was started again as pid "
            f"{pool.pids[1]}; "
        )
        assert line in caplog.text
        started = [psutil.Process(pid) for pid in pool.pids]
    finally:
        pool.stop()
    assert not any(alive(process) for process in started)


def test_each_worker_has_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; print(os.environ['A'], os.environ['REFOLD_WORKER_NUMBER'], flush=True)"
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, "-c", code))
    pool = Workers(tmp_path, 2, numbered)
    pool.start({"A": "all"})
    try:
        logs = [tmp_path / "worker-1.log", tmp_path / "worker-2.log"]
        expected = ["all 1\n", "all 2\n"]
        eventually(lambda: [log.read_text() for log in logs] == expected, "its environment")
    finally:
        pool.stop()


_TALKING = (
    sys.executable,
    "-c",
    r"import signal; print('first\n' 'ready\33[2J', flush=True); signal.pause()",
)


def test_a_child_that_fails_shows_its_log(tmp_path: Path) -> None:
    child = ChildProcess(
        "The server",
        [sys.executable, "-c", "print('no such option'); exit(3)"],
        log=tmp_path / "server.log",
        environment={},
    )
    with pytest.raises(
        ServerEnded, match=r"The server ended with exit code 3(.|\n)*no such option"
    ):
        child.wait_until(lambda: False, timeout=10)


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"
    log = tmp_path / "deaf.log"
    child = ChildProcess(
        "deaf", [sys.executable, "-c", f"{deaf}; signal.pause()"], log=log, environment={}
    )
    child.wait_until(lambda: log.stat().st_size > 0, timeout=10)
    child.stop(timeout=0.1)
    assert child.exit_status == "signal SIGKILL"


def test_ports_asked_for_must_be_free() -> None:
    base = free_port_base()
    assert choose_ports(base) == Ports(base, base + 1, base + 2)
    with (
        socket.create_server(("127.0.0.1", base + 2)),
        pytest.raises(PortTaken, match=f"Port {base + 2} for postgres"),
    ):
        choose_ports(base)


def test_a_default_port_that_is_taken_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.stack.ports.is_free", lambda port: port != 7233 and port > 7000)
    chosen = choose_ports()
    assert chosen.temporal != 7233
    assert (chosen.ui, chosen.postgres) == (8233, 54321)
