"""Search attributes on Temporal's server: registered, and whether they are there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from refold.messages.search_attributes import SEARCH_ATTRIBUTES

logger = logging.getLogger(__name__)

# A server that has none is asked again after this time: somebody may have registered them.
_ASK_AGAIN_SECONDS = 60.0

_KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD


async def missing(client: Client) -> list[str]:
    """Which of Refold's search attributes the client's namespace has not, or not as keywords.

    Raises:
        RPCError: The server does not answer, or does not permit the question.
    """
    found = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    known = found.custom_attributes
    return [name for name in SEARCH_ATTRIBUTES if known.get(name) != _KEYWORD]


async def register(client: Client) -> list[str]:
    """Registers those that are missing.

    Returns:
        Those that were registered; none when all were there.

    Raises:
        RPCError: The server does not permit it, or does not answer.
    """
    names = await missing(client)
    if names:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace, search_attributes=dict.fromkeys(names, _KEYWORD)
            )
        )
    return names


class Listing:
    """Whether workflows may set Refold's search attributes; asked of the server now and then.

    To set one that the server does not know would stop the workflow for good.
    """

    def __init__(self) -> None:
        self._is_there = False
        self._asked_at: float | None = None

    async def is_there(self, connected: Callable[[], Client]) -> bool:
        """Whether the namespace has all of them; False, too, when the server does not say.

        Args:
            connected: Gives the client, as `temporalio.activity.client` does, or raises
                RuntimeError where activities run without a worker.
        """
        if self._is_there:
            return True
        try:
            client = connected()
        except RuntimeError:
            return False
        now = monotonic()
        if self._asked_at is not None and now - self._asked_at < _ASK_AGAIN_SECONDS:
            return False
        try:
            names = await missing(client)
        except RPCError as error:
            names, why = list(SEARCH_ATTRIBUTES), f": {error.message}"
        else:
            why = ""
        self._is_there = not names
        if names and self._asked_at is None:
            logger.info(
                "runs are not listed by search attributes: the namespace %s has no %s%s; `refold "
                "migrate` registers them",
                client.namespace,
                ", ".join(names),
                why,
            )
        self._asked_at = now
        return self._is_there
