"""The place of one worker process among those of a machine: its number, and what follows from it.

The process that starts it says so in the environment; nobody else is to set these variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from refold.errors import ConfigurationError
from refold.runtime.telemetry.metrics import PROMETHEUS_PORT, prometheus_port
from refold.runtime.telemetry.worker_number import WORKER_NUMBER
from refold.worker.health import HEALTH_PORT

SUPERVISOR = "REFOLD_SUPERVISOR_PID"
"""The process that a worker process is not to outlive."""

PROCESSES = "REFOLD_WORKER_PROCESSES"


def numbered(environment: Mapping[str, str], number: int) -> dict[str, str]:
    """What one of several worker processes has in its environment, beyond what all of them have.

    It is one process, whatever the setting says, and serves its metrics and its health at ports of
    its own: the first at the port that is set, the next ones at those after it.

    Args:
        environment: What all of them have.
        number: Its number, from 1.

    Raises:
        ConfigurationError: There is no such port.
    """
    own = {PROCESSES: "1", WORKER_NUMBER: str(number)}
    health = environment.get(HEALTH_PORT, "")
    ports = {
        PROMETHEUS_PORT: prometheus_port(environment) or 0,  # 0 is any free port
        HEALTH_PORT: int(health) if health.isdecimal() else 0,
    }
    for name, port in ports.items():
        if port and port + number - 1 >= 2**16:
            raise ConfigurationError(
                f"{name}: expected one with a port for each worker process from it up to 65535, "
                f"got {port}, and worker process {number}"
            )
        if port:
            own[name] = str(port + number - 1)
    return own


def supervisor() -> int | None:
    """The process that has started this one as one of several; None if this is a single one."""
    said = os.environ.get(SUPERVISOR, "")
    return int(said) if said.isdecimal() else None
