"""Several processes kept up by one: restarts, signals, ends, and what each has of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from refold.errors import ConfigurationError
from refold.worker.processes.place import numbered
from tests.support.forked import ForkedProcess, worker
from tests.support.processes import ROOT, clean_environment
from tests.support.supervised import supervised

# It says that it is ready, and ends in order when it is asked to: after a while, as a worker does.
_ORDERLY = """
import os, signal, sys, time
def stop(*_):
    time.sleep(0.2)
    sys.stderr.write('done\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
sys.stderr.write(f'ready {os.getpid()} {os.environ["REFOLD_WORKER_NUMBER"]}\\n')
sys.stderr.flush()
while True:
    signal.pause()
"""
_STUBBORN = _ORDERLY.replace(
    "signal.signal(signal.SIGTERM, stop)", "signal.signal(15, lambda *_: 0)"
)
_FAILING = r"import sys; sys.stderr.write('no \33[2Jluck\n\n'); sys.exit(3)"
_BOUND = (
    """
import os
from refold.worker.processes.mortality import die_with
die_with(int(os.environ["REFOLD_SUPERVISOR_PID"]))
"""
    + _STUBBORN
)


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_process_that_dies_is_started_again_and_all_stop_in_order(tmp_path: Path) -> None:
    with supervised(tmp_path, 2, _ORDERLY) as them:
        eventually(lambda: them.ready == 2)
        (first,), (second,) = them.pids(1), them.pids(2)
        assert {f"ready {first} 1", f"ready {second} 2"} <= set(them.log.splitlines())
        psutil.Process(second).kill()
        eventually(lambda: them.ready == 3)
        assert f"worker process 2, pid {second}, ended with signal SIGKILL (ready {second} 2)" in (
            them.log
        )
        assert (len(them.pids(1)), len(them.pids(2))) == (1, 2)
        them.process.send(signal.SIGTERM)
        assert them.process.wait(20) == 0
        assert them.log.count("done") == 2
        assert all(gone(pid) for pid in [*them.pids(1), *them.pids(2)])
    assert "Traceback" not in them.log


def test_who_ends_at_once_again_and_again_ends_all(tmp_path: Path) -> None:
    code = f"import os\nif os.environ['REFOLD_WORKER_NUMBER'] == '2': exec({_FAILING!r})\n"
    with supervised(tmp_path, 2, code + _ORDERLY) as them:
        assert them.process.wait(30) == 1
        assert len(them.pids(2)) == 5
        assert them.log.splitlines()[-1] == (
            "refold: worker process 2 has ended 5 times in a row within 30 s, the last time with "
            "exit code 3 (no ?[2Jluck): all are stopped; see the log above for why, then start "
            "again"
        )
        assert "done" in them.log, "the other one has finished what it had in hand"
        assert gone(them.pids(1)[0])


def test_one_that_is_not_ready_yet_is_stopped_in_order(tmp_path: Path) -> None:
    code = "import sys, time; print('ready', file=sys.stderr, flush=True); time.sleep(60)"
    with supervised(tmp_path, 2, code) as them:
        eventually(lambda: them.ready == 2)
        them.process.send(signal.SIGTERM)
        assert them.process.wait(20) == 0


def test_one_that_does_not_stop_in_order_is_told(tmp_path: Path) -> None:
    code = _ORDERLY.replace("sys.exit(0)", "sys.exit(4)")
    with supervised(tmp_path, 2, code) as them:
        eventually(lambda: them.ready == 2)
        them.process.send(signal.SIGTERM)
        assert them.process.wait(20) == 1
        assert "was asked to stop, and ended with exit code 4 (done)" in them.log


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with supervised(tmp_path, 2, _STUBBORN) as them:
        eventually(lambda: them.ready == 2)
        them.process.send(signal.SIGINT)
        eventually(lambda: "finish the batches in hand" in them.log)
        assert not any(gone(pid) for pid in [*them.pids(1), *them.pids(2)])
        them.process.send(signal.SIGTERM)
        assert them.process.wait(20) == 1
        assert all(gone(pid) for pid in [*them.pids(1), *them.pids(2)])
        assert "killed by a second signal" in them.log


def test_no_process_outlives_the_one_that_has_started_it(tmp_path: Path) -> None:
    with supervised(tmp_path, 2, _BOUND) as them:
        eventually(lambda: them.ready == 2)
        them.process.send(signal.SIGKILL)
        them.process.wait(10)
        for pid in (*them.pids(1), *them.pids(2)):
            eventually(lambda pid=pid: gone(pid), 10)  # type: ignore[misc]


def test_what_can_never_work_is_said_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = ForkedProcess(
        worker,
        directory=ROOT,
        environment=clean_environment(
            REFOLD_PROJECTIONS="nowhere_at_all", REFOLD_WORKER_PROCESSES="2"
        ),
        output=(log, log),
    )
    assert process.wait(60) == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith("refold: worker process ")
    assert "cannot work, and neither can the others (refold: REFOLD_PROJECTIONS: " in last
    assert "nowhere_at_all" in last
    assert "Traceback" not in log.read_text()


def test_each_process_is_one_with_a_port_of_its_own() -> None:
    served = {"OTEL_METRICS_EXPORTER": "otlp, Prometheus"}
    own = {"REFOLD_WORKER_PROCESSES": "1", "REFOLD_WORKER_NUMBER": "3"}
    assert numbered({}, 3) == own
    assert numbered({"OTEL_EXPORTER_PROMETHEUS_PORT": "9000"}, 3) == own
    assert numbered(served, 3) == {**own, "OTEL_EXPORTER_PROMETHEUS_PORT": "9466"}
    any_port = {**served, "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    assert numbered(any_port, 3) == own
    odd = {**served, "OTEL_EXPORTER_PROMETHEUS_PORT": "high"}
    assert numbered(odd, 3) == own, "the worker itself refuses it"
    highest = {**served, "OTEL_EXPORTER_PROMETHEUS_PORT": "65534"}
    assert numbered(highest, 2)["OTEL_EXPORTER_PROMETHEUS_PORT"] == "65535"
    with pytest.raises(ConfigurationError, match="got 65534, and worker process 3"):
        numbered(highest, 3)
