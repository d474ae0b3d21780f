"""What compose file and manifests start, started as plain processes: commands and environments.

Without a container engine: names of hosts and ports are those of the test's servers, the rest is
as it stands in the files. What is in images of others is left out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import asyncpg
from temporalio.client import Client

from refold.runtime.payloads.keys import add_key
from refold.stack.initdb import binaries
from refold.stack.postgres import EmbeddedPostgres
from tests.support.commands import forked
from tests.support.forked import ForkedProcess, refold
from tests.support.manifests import (
    COMPOSE_FILES,
    containers,
    environment,
    interpolated,
    loaded,
    manifests,
)
from tests.support.ports import free_port
from tests.support.processes import ROOT, clean_environment

SERVICES = loaded(COMPOSE_FILES[0])["services"]
CODEC = loaded(ROOT / "deploy/compose/encryption.yml")["services"]["codec"]
EVENTS = [
    ("OrderPlaced", {}),
    ("ItemAdded", {"sku": "s", "quantity": 2, "unit_price": "9.90"}),
]


class Places:
    """Where the test's servers are, in place of those that the files name."""

    def __init__(self, postgres: EmbeddedPostgres, client: Client) -> None:
        self.namespace = f"services-{os.getpid()}-{time.monotonic_ns()}"
        self._postgres = postgres.url.partition("@")[2].partition("/")[0]
        self._temporal = client.service_client.config.target_host

    def of(self, given: dict[str, Any], **more: str) -> dict[str, str]:
        """A service's variables, as its process here has them."""
        host, _, port = self._postgres.partition(":")
        found = {name: interpolated(str(value)) for name, value in given.items()}
        for name, value in found.items():
            moved = value.replace("postgresql:5432", self._postgres)
            found[name] = re.sub(r"^temporal(-[a-z.]+)?:7233$", self._temporal, moved)
        if "PGHOST" in found:
            found |= {"PGHOST": host, "PGPORT": port}
        if "TEMPORAL_NAMESPACE" in found:
            found["TEMPORAL_NAMESPACE"] = self.namespace
        made = clean_environment(**{**found, **more})
        return {**made, "PATH": f"{made['PATH']}{os.pathsep}{binaries()}"}


def run(command: list[str], variables: dict[str, str]) -> str:
    """Runs a command to its end; what it printed."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    return ended.stdout


@contextmanager
def running(command: list[str], variables: dict[str, str], grace: float) -> Iterator[None]:
    """Runs a command, and ends it as a container engine does: SIGTERM, and the time to finish."""
    with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE) as process:
        try:
            yield
            process.terminate()
            assert process.wait(grace) == 0, command
        finally:
            if process.poll() is None:
                process.kill()


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)  # to ask takes a process


def words_after_refold(command: list[str]) -> tuple[str, ...]:
    """What follows the name of the program, for a process that has imported it already."""
    assert command[0] == "refold"
    return tuple(command[1:])


def scripted(service: dict[str, Any]) -> list[str]:
    """The entrypoint of a service, with the file that is mounted where it looks."""
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    return [mounted.get(part, part) for part in service["entrypoint"]]


def image_command() -> list[str]:
    """What the image runs."""
    (said,) = re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    command: list[str] = json.loads(said)
    return command


async def test_each_service_does_its_part(
    postgres: EmbeddedPostgres, client: Client, tmp_path: Path
) -> None:
    places = Places(postgres, client)
    worker = SERVICES["worker"]
    for _ in range(2):  # `up` again, after a change of an image
        run(scripted(SERVICES["databases"]), places.of(SERVICES["databases"]["environment"]))
    # The embedded server has a database of that name already.
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("ALTER DATABASE refold OWNER TO refold")
    await connection.close()
    run(scripted(SERVICES["namespace"]), places.of(SERVICES["namespace"]["environment"]))
    until(lambda: _is_known(places))
    variables = places.of(worker["environment"])
    migrated = forked(*words_after_refold(SERVICES["migrate"]["command"]), variables=variables)
    assert "schema refold: migrated" in migrated.out, migrated.err

    port, variables = _numbered(variables)
    of_pod, pod_port, command, probe = _pod(places, variables["REFOLD_DATABASE_URL"])
    grace = float(worker["stop_grace_period"].removesuffix("s"))
    test = worker["healthcheck"]["test"]
    assert test[0] == "CMD"
    healthcheck = [part.replace("8089", str(port)) for part in test[1:]]
    with ExitStack() as up:
        up.enter_context(running(image_command(), variables, grace))
        up.enter_context(running(command, of_pod, grace))
        for one in (port, pod_port):
            until(partial(_answers, f"http://127.0.0.1:{one}{probe}"))
        assert _succeeds(healthcheck, variables)
        await _write(postgres)
        rebuilt = forked("rebuild", "order-summary", variables=variables)
        assert rebuilt.status == 0, rebuilt.err
    connection = await asyncpg.connect(postgres.url)
    rows = await connection.fetch("SELECT order_id, total::text FROM order_summary")
    assert [tuple(row) for row in rows] == [("o1", "19.80")]
    await connection.close()
    _codec(places, tmp_path)


async def _write(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    for number, (kind, data) in enumerate(EVENTS, start=1):
        await connection.execute(
            "INSERT INTO refold.events (stream_id, version, type, data, metadata) "
            """VALUES ('o1', $1, $2, $3, '{"customer_id": "c1"}')""",
            number,
            kind,
            json.dumps(data),
        )
    await connection.close()


def _numbered(variables: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The same with a health port of the test's own."""
    port = free_port()
    return port, {**variables, "REFOLD_HEALTH_PORT": str(port)}


def _pod(places: Places, url: str) -> tuple[dict[str, str], int, list[str], str]:
    """A worker's pod: its variables, port, command, and the path of its probe."""
    found = manifests()
    settings = found["ConfigMap/refold-settings"]["data"]
    secrets = {"refold-database/url": url}
    (migrate,) = containers(found["Job/refold-migrate"])
    assert migrate["command"] == SERVICES["migrate"]["command"]
    (container,) = containers(found["Deployment/refold-worker"])
    port, variables = _numbered(places.of(environment(container, settings, secrets)))
    return variables, port, container["command"], container["readinessProbe"]["httpGet"]["path"]


def _codec(places: Places, directory: Path) -> None:
    """The codec server of the compose file answers the UI of the compose file."""
    key_file, port = directory / "payload.keys", free_port()
    add_key(key_file)
    variables = places.of(CODEC["environment"], REFOLD_PAYLOAD_KEY_FILE=str(key_file))
    origin = "http://" + SERVICES["ui"]["ports"][0].replace("127.0.0.1", "localhost", 1)
    said = directory / "codec.log"
    said.touch()
    codec = ForkedProcess(
        refold,
        (*words_after_refold(CODEC["command"]), f"--port={port}"),
        directory=ROOT,
        environment=variables,
        output=(said, said),
    )
    try:
        asked = Request(
            f"http://127.0.0.1:{port}/decode",
            b'{"payloads": []}',
            {"Origin": origin.rpartition(":")[0]},
        )
        until(lambda: _answers(asked))
        codec.send(signal.SIGTERM)
        assert codec.wait(10) == 0, said.read_text()
    finally:
        codec.send(signal.SIGKILL)


def _is_known(places: Places) -> bool:
    """Whether all of the server knows the namespace by now."""
    variables = places.of(SERVICES["namespace"]["environment"])
    listed = ["temporal", "operator", "search-attribute", "list", "-n", places.namespace]
    return _succeeds(listed, variables)


def _succeeds(command: list[str], variables: dict[str, str]) -> bool:
    ended = subprocess.run(command, env=variables, capture_output=True, timeout=30, check=False)
    return ended.returncode == 0


def _answers(asked: str | Request) -> bool:
    try:
        with urlopen(asked, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
