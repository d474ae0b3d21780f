"""The Temporal client of this process: where the environment says, with our converter."""

from __future__ import annotations

import asyncio
import logging

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig

from refold.errors import ConfigurationError, TemporalUnreachable
from refold.telemetry import set_up_telemetry

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
    except RuntimeError as error:
        raise ConfigurationError(f"TEMPORAL_*: {error}") from error
    config.setdefault("target_host", "localhost:7233")
    try:
        return await Client.connect(
            **config, data_converter=pydantic_data_converter, interceptors=set_up_telemetry()
        )
    except RuntimeError as error:
        raise TemporalUnreachable(
            f"Temporal at {target()} does not answer: check TEMPORAL_ADDRESS, or start one with "
            f"`refold dev` ({error})"
        ) from error


async def wait_until_connected() -> Client:
    """Waits for the Temporal server to answer, saying every few seconds that it does not.

    Raises:
        ConfigurationError: The settings cannot work.
    """
    pause = 0.5
    while True:
        try:
            return await connect()
        except TemporalUnreachable as error:
            logger.warning("%s; trying again", error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 5.0)
