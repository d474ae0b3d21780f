"""TLS, certificates and API keys for Temporal, by the SDK's own variables and profile file."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse
from temporalio.client import Client
from typer.testing import CliRunner

from refold.cli.main import app
from refold.errors import ConfigurationError, TemporalUnreachable
from refold.runtime.temporal.client import connect
from tests.support.certificates import Authority, Certificate
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, queue, run, working, write


@dataclass(frozen=True)
class Secured:
    """A Temporal server that asks for a certificate.

    Attributes:
        port: Where it is, on 127.0.0.1.
        authority: Has signed its certificate.
        certificate: One that it takes.
    """

    port: int
    authority: Authority
    certificate: Certificate

    def variables(self) -> dict[str, str]:
        """What leads to it."""
        return {
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.port}",
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(self.authority.certificate),
            "TEMPORAL_TLS_CLIENT_CERT_PATH": str(self.certificate.certificate),
            "TEMPORAL_TLS_CLIENT_KEY_PATH": str(self.certificate.key),
        }


@pytest.fixture
async def secured(client: Client, tmp_path: Path) -> AsyncIterator[Secured]:
    """The session's server, behind what speaks TLS."""
    authority = Authority(tmp_path)
    own = authority.signed("server")
    speaking = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate)
    )
    speaking.load_cert_chain(own.certificate, own.key)
    speaking.verify_mode = ssl.CERT_REQUIRED
    speaking.set_alpn_protocols(["h2"])
    host, _, behind = client.service_client.config.target_host.partition(":")
    passing: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(host, int(behind))
        for one, other in ((reader, outer), (inner, writer)):
            task = asyncio.create_task(_copied(one, other))
            passing.add(task)
            task.add_done_callback(passing.discard)

    port = free_port()
    server = await asyncio.start_server(pass_on, "127.0.0.1", port, ssl=speaking)
    yield Secured(port, authority, authority.signed("client"))
    server.close()
    for task in list(passing):
        task.cancel()
    await asyncio.gather(*passing, return_exceptions=True)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets variables of Temporal, in place of all others; None takes one away."""

    def put(given: dict[str, str | None]) -> None:
        for name, value in {"TEMPORAL_CONFIG_FILE": "/dev/null", **given}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return put


async def test_a_rebuild_over_tls_with_a_certificate(
    secured: Secured, database: Database, variables: Any, tmp_path: Path
) -> None:
    await write(database.engine, some())
    variables(secured.variables())
    client = await connect()
    async with working(client, database, registry_of(counters())):
        await run(client, database, "Rebuild", "counters")
    await assert_oracle(database.engine, counters())

    # The same from a profile file, for the command line.
    files = tmp_path / "temporal.toml"
    files.write_text(
        f"""
        [profile.shop]
        address = "127.0.0.1:{secured.port}"
        namespace = "default"
        [profile.shop.tls]
        server_ca_cert_path = "{secured.authority.certificate}"
        client_cert_path = "{secured.certificate.certificate}"
        client_key_path = "{secured.certificate.key}"
        """
    )
    profile = {
        **dict.fromkeys(secured.variables(), None),
        "TEMPORAL_CONFIG_FILE": str(files),
        "TEMPORAL_PROFILE": "shop",
    }
    variables(profile)
    shown = await _typed(database, "health", "counters")
    assert "does not answer" not in shown.output
    assert "counters" in shown.stdout
    variables({**profile, "TEMPORAL_PROFILE": "another"})
    refused = await _typed(database, "health", "counters")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "TEMPORAL_*: Profile 'another' not found" in refused.stderr


async def _typed(database: Database, *words: str) -> Any:
    settings = {
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_PROJECTIONS": "tests.support.team_read_models",
        "REFOLD_TASK_QUEUE": queue(database),
    }
    return await asyncio.to_thread(CliRunner().invoke, app, list(words), env=settings)


WRONG: dict[str, tuple[dict[str, str | None], type[Exception], str]] = {
    "no TLS": (
        {
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": None,
            "TEMPORAL_TLS_CLIENT_CERT_PATH": None,
            "TEMPORAL_TLS_CLIENT_KEY_PATH": None,
        },
        TemporalUnreachable,
        "if it speaks TLS, set TEMPORAL_TLS=true",
    ),
    "no authority": (
        {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": None},
        TemporalUnreachable,
        "let TEMPORAL_TLS_SERVER_CA_CERT_PATH name the certificate of who has",
    ),
    "no certificate": (
        {"TEMPORAL_TLS_CLIENT_CERT_PATH": None, "TEMPORAL_TLS_CLIENT_KEY_PATH": None},
        TemporalUnreachable,
        "if it asks for a certificate, TEMPORAL_TLS_CLIENT_CERT_PATH",
    ),
    "another name": (
        {"TEMPORAL_TLS_SERVER_NAME": "elsewhere"},
        TemporalUnreachable,
        "let TEMPORAL_TLS_SERVER_NAME say one of them",
    ),
    "no file": (
        {"TEMPORAL_TLS_CLIENT_KEY_PATH": "/nowhere/a.key"},
        ConfigurationError,
        "TEMPORAL_*: /nowhere/a.key cannot be read",
    ),
    "no key": (
        {"TEMPORAL_TLS_CLIENT_KEY_PATH": "/etc/hostname"},
        TemporalUnreachable,
        "TEMPORAL_TLS_CLIENT_KEY_PATH holds no key",
    ),
    "a key without a certificate": (
        {"TEMPORAL_TLS_CLIENT_CERT_PATH": None},
        ConfigurationError,
        "Must have both client cert and private key",
    ),
}


async def test_what_is_wrong_is_said_with_the_variable_that_mends_it(
    client: Client, secured: Secured, variables: Any
) -> None:
    for case, (changed, kind, said) in WRONG.items():
        variables({"TEMPORAL_TLS_SERVER_NAME": None, **secured.variables(), **changed})
        with pytest.raises(kind) as raised:
            await connect()
        assert said in str(raised.value), case
    plain = client.service_client.config.target_host
    variables({**secured.variables(), "TEMPORAL_ADDRESS": plain})
    with pytest.raises(TemporalUnreachable, match="it speaks no TLS"):
        await connect()


class _Cloud(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers whoever has the right API key, as a server that many share."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def service(self, handler_call_details: Any) -> Any:
        asked = dict(handler_call_details.invocation_metadata)
        self.keys.append(asked.get("authorization", ""))

        async def answer(request: bytes, context: Any) -> bytes:
            if asked.get("authorization") != "Bearer the-right-key":
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such API key")
            return GetSystemInfoResponse(server_version="1.32.0").SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


async def test_an_api_key_is_sent_over_tls_and_not_told(variables: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.signed("server")
    cloud, port = _Cloud(), free_port()
    server = grpc.aio.server(handlers=[cloud])
    credentials = grpc.ssl_server_credentials(
        [(own.key.read_bytes(), own.certificate.read_bytes())]
    )
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    leading = {
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "TEMPORAL_NAMESPACE": "shop.a1b2c",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(authority.certificate),
    }
    variables({**leading, "TEMPORAL_API_KEY": "the-right-key"})
    assert (await connect()).namespace == "shop.a1b2c"
    assert set(cloud.keys) == {"Bearer the-right-key"}
    variables({**leading, "TEMPORAL_API_KEY": "s3cr3t-wrong-key"})
    with pytest.raises(TemporalUnreachable, match="check TEMPORAL_API_KEY; it says 'no such") as no:
        await connect()
    assert "s3cr3t" not in str(no.value)
    await server.stop(None)
