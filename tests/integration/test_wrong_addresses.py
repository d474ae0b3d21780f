"""An address that can never work is refused at once, and says what to change."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from refold.errors import ConfigurationError, TemporalUnreachable
from refold.runtime.database import make_engine
from refold.runtime.reachability import check_reachable
from refold.runtime.settings import Settings
from refold.runtime.temporal.client import connect, wait_until_connected
from refold.stack.postgres import EmbeddedPostgres
from tests.support.ports import free_port


@pytest.mark.parametrize("mode", ["require", "verify-full&sslrootcert=system"])
async def test_tls_is_asked_of_a_server_that_has_none(
    postgres: EmbeddedPostgres, mode: str
) -> None:
    settings = Settings(database_url=f"{postgres.url}?sslmode={mode}")
    engine = make_engine(settings, activities=0)
    try:
        with pytest.raises(ConfigurationError, match="take away sslmode, or set ssl = on"):
            await check_reachable(engine)
    finally:
        await engine.dispose()


async def test_a_worker_is_told_that_its_namespace_does_not_exist(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
    assert (await wait_until_connected()).namespace == "default"
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "elsewhere")
    with pytest.raises(ConfigurationError, match=r"has no namespace 'elsewhere'.*create"):
        await wait_until_connected()


async def test_a_temporal_that_is_not_there_is_said_in_few_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(TemporalUnreachable) as refused:
        await connect()
    assert str(refused.value) == (
        f"Temporal at {address} does not answer: check TEMPORAL_ADDRESS, or start one with "
        "`refold dev` (Connection refused)"
    )
