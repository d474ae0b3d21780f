"""The Temporal client of this process: where the environment says, with our converter."""

from __future__ import annotations

import asyncio
import logging

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import ConfigurationError, TemporalUnreachable
from refold.runtime.payloads.converter import make_data_converter
from refold.runtime.settings import load_settings
from refold.runtime.telemetry import set_up_tracing
from refold.runtime.temporal.own_metrics import measured_runtime
from refold.runtime.temporal.refusals import reason

logger = logging.getLogger(__name__)


def target() -> str:
    """The address that TEMPORAL_* or its profile file name; the SDK's default otherwise."""
    return str(ClientConfig.load_client_connect_config().get("target_host", "localhost:7233"))


async def connect() -> Client:
    """Connects to the Temporal server that TEMPORAL_* name.

    Raises:
        ConfigurationError: The settings cannot work.
        TemporalUnreachable: The server does not answer.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except OSError as error:
        raise ConfigurationError(
            f"TEMPORAL_*: {error.filename} cannot be read ({error.strerror}): name a file that is "
            "there"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(f"TEMPORAL_*: {error}") from error
    config.setdefault("target_host", "localhost:7233")
    data_converter = make_data_converter(load_settings().payload_key_file)
    interceptors = set_up_tracing()
    try:
        return await Client.connect(
            **config,
            data_converter=data_converter,
            interceptors=interceptors,
            runtime=measured_runtime(),
        )
    except ValueError as error:
        raise ConfigurationError(f"TEMPORAL_TLS_…: {error}") from error
    except RuntimeError as error:
        tls = bool(config.get("tls") or config.get("api_key"))
        raise TemporalUnreachable(
            f"Temporal at {target()} does not answer: check TEMPORAL_ADDRESS, or start one with "
            f"`refold dev` ({reason(error, tls=tls)})"
        ) from error


async def require_namespace(client: Client) -> None:
    """Asks the server whether it has the client's namespace.

    Raises:
        ConfigurationError: It has not.
        TemporalUnreachable: It does not answer any more.
    """
    asked = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(asked)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise ConfigurationError(
                f"TEMPORAL_NAMESPACE: Temporal at {target()} has no namespace "
                f"{client.namespace!r}: name one that it has, or make it with `temporal operator "
                f"namespace create -n {client.namespace}`"
            ) from error
        if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
            raise TemporalUnreachable(
                f"Temporal at {target()} does not answer: {error.message}"
            ) from error


async def wait_until_connected() -> Client:
    """Waits for the Temporal server to answer, saying every few seconds that it does not.

    Raises:
        ConfigurationError: The settings cannot work, or the server has no such namespace.
    """
    pause = 0.5
    while True:
        try:
            client = await connect()
            await require_namespace(client)
            return client
        except TemporalUnreachable as error:
            logger.warning("%s; trying again", error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 5.0)
