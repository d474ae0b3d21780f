"""The stack as its user has it: `refold dev`, and the commands `refold` and `temporal`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refold.store.roles.names import Roles
from tests.support.commands import Ended, forked
from tests.support.processes import ROOT, clean_environment
from tests.support.roles import url_of_role

BESIDE = Path(sys.executable).parent

# Who types what; all else is the operator's.
_KINDS = {("events", "import"): "appender", ("migrate",): "migrator"}


@dataclass(frozen=True)
class DevStack:
    """A running `refold dev`.

    Attributes:
        variables: What it wrote to its `env` file; with roles, the operator logs in.
        process: The process.
        roles: Who logs in, and with which rights; None when all are the database's owner.
    """

    variables: dict[str, str]
    process: subprocess.Popen[bytes]
    roles: Roles | None = None

    @property
    def database_url(self) -> str:
        """Where its PostgreSQL is."""
        return self.variables["REFOLD_DATABASE_URL"]

    @property
    def reader_url(self) -> str:
        """The same for somebody who only reads read models."""
        return self._url_as("reader")

    def variables_of(self, kind: str) -> dict[str, str]:
        """The variables for a role, such as the worker."""
        return {**self.variables, "REFOLD_DATABASE_URL": self._url_as(kind)}

    def _url_as(self, kind: str) -> str:
        if self.roles is None:
            return self.database_url
        return url_of_role(self.database_url, getattr(self.roles, kind))

    def refold(self, *arguments: str, timeout: float = 60) -> Ended:
        """Runs `refold` with these arguments to its end, in a process of its own."""
        variables = self.variables_of(_KINDS.get(arguments[:2], "operator"))
        return forked(*arguments, variables=variables, timeout=timeout)

    def installed(self, *arguments: str, timeout: float = 60) -> Ended:
        """The same, by the command that is installed: it imports everything first."""
        return self._run(BESIDE / "refold", arguments, timeout)

    def temporal(self, *arguments: str, timeout: float = 60) -> Ended:
        """Runs Temporal's own command line with these arguments to its end."""
        return self._run(BESIDE / "temporal", arguments, timeout)

    def start(self, kind: str, workflow_id: str, *inputs: str) -> Ended:
        """Starts a workflow as the README tells users to."""
        given = [part for value in inputs for part in ("--input", value)]
        return self.temporal(
            *("workflow", "start", "--type", kind, "-t", "refold", "-w", workflow_id), *given
        )

    def result(self, workflow_id: str, timeout: float = 60) -> Ended:
        """Waits for a workflow's end."""
        return self.temporal(
            *("workflow", "result", "-w", workflow_id, "--output", "json"), timeout=timeout
        )

    def query(self, workflow_id: str, name: str) -> Any:
        """A query's answer."""
        answered = self.temporal(
            *("workflow", "query", "-w", workflow_id, "--type", name, "--output", "json")
        )
        assert answered.status == 0, answered.err
        found = answered.json()
        return found["queryResult"][0] if "queryResult" in found else found

    def _run(self, program: Path, arguments: tuple[str, ...], timeout: float) -> Ended:
        ended = subprocess.run(
            [program, *arguments],
            cwd=ROOT,
            env=clean_environment(**self.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)
