"""The checkpoint stores that a worker is configured for, opened when they are first needed."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeVar

from refold.errors import CheckpointStoreFailed, ConfigurationError
from refold.errors.words import raised
from refold.projection.checkpoints import SAME_DATABASE, SEPARATE, Checkpoints
from refold.projection.declaration import Projection
from refold.runtime.settings import Settings
from refold.store.checkpoints.address import Address, parse_address
from refold.store.checkpoints.record import CheckpointStore, Record

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""A store that has not answered after so long counts as failed."""

# The module and class of each store, and the extra that its client comes with.
_STORES: Mapping[str, tuple[str, str, str | None]] = {
    "sql": ("sql", "SqlStore", None),
    "redis": ("redis", "RedisStore", "redis"),
    "dynamodb": ("dynamodb", "DynamoDbStore", "dynamodb"),
    "cosmosdb": ("cosmosdb", "CosmosDbStore", "cosmos"),
}
_LONGEST_MESSAGE = 300


class Kept:
    """A store as Refold uses it: each answer is bounded in time, and errors tell no secrets.

    Args:
        address: Where the store is.
        store: The store.
    """

    def __init__(self, address: Address, store: CheckpointStore) -> None:
        self.address = address
        self._store = store

    async def read(self, name: str) -> Record | None:
        """See `CheckpointStore`.

        Raises:
            CheckpointStoreFailed: The store does not answer, or answers with an error.
        """
        return await self._answered("read", self._store.read(name))

    async def create(self, name: str, record: Record) -> bool:
        """See `CheckpointStore`, and `read` for what it raises."""
        return await self._answered("create", self._store.create(name, record))

    async def advance(self, name: str, expected: Record, new: Record) -> bool:
        """See `CheckpointStore`, and `read`. After an error it may have moved, or move yet."""
        return await self._answered("move", self._store.advance(name, expected, new))

    async def drop(self, name: str) -> None:
        """See `CheckpointStore`, and `read` for what it raises."""
        await self._answered("remove", self._store.drop(name))

    async def close(self) -> None:
        """Gives connections up."""
        await self._store.close()

    async def _answered(self, what: str, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asked
        except TimeoutError:
            why = f"no answer within {ANSWER_SECONDS:.0f} s"
        except Exception as error:
            why = self._without_secrets(raised(error, _LONGEST_MESSAGE).partition("\n")[0])
        # Not from the error: its text and those behind it are the client's own.
        raise CheckpointStoreFailed(self.address.place, f"cannot {what} a checkpoint: {why}")

    def _without_secrets(self, text: str) -> str:
        for secret in self.address.secrets:
            text = text.replace(secret, "…")
        return text


class CheckpointStores:
    """The stores of a worker.

    Args:
        settings: The addresses, and what holds for projections that say nothing.

    Raises:
        ConfigurationError: An address is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._addresses: dict[str, Address] = {}
        for store, variable, url in settings.store_urls():
            address = parse_address(variable, url)
            if address.store != store:
                raise ConfigurationError(
                    f"{variable}: expected the address of a store {store!r}, got one of "
                    f"{address.store!r}"
                )
            self._addresses[store] = address
        self._default: str | None = None
        if settings.checkpoints != SAME_DATABASE:
            address = parse_address("REFOLD_CHECKPOINTS", settings.checkpoints)
            self._addresses[address.store] = address
            self._default = address.store
        self._open: dict[str, Kept] = {}

    def declared(self, checkpoints: Checkpoints) -> Address | None:
        """Where a live checkpoint is to be; None for beside its rows.

        Raises:
            ConfigurationError: The address of the store is not configured.
        """
        said = "storage" in checkpoints.model_fields_set
        storage = checkpoints.storage if said or self._default is None else SEPARATE
        if storage == SAME_DATABASE:
            return None
        store = checkpoints.store or self._default
        if store is None:
            raise ConfigurationError(
                f"checkpoints: storage {SEPARATE!r}: expected a store, or the address of one in "
                "REFOLD_CHECKPOINTS, got neither: add store=… to the projection's Checkpoints"
            )
        return self._address(store)

    def require(self, projections: Iterable[Projection]) -> None:
        """Requires that each projection's store can be opened, before any work.

        Raises:
            ConfigurationError: An address, or the package of a client, is missing.
        """
        for projection in projections:
            try:
                address = self.declared(projection.checkpoints)
                if address is not None:
                    _client(address.store)
            except ConfigurationError as error:
                raise ConfigurationError(f"projection {projection.name!r}: {error}") from None

    def at(self, store: str, place: str) -> Kept:
        """The store in which a checkpoint was put.

        Raises:
            ConfigurationError: This worker is configured for none such, or for another place.
        """
        address = self._address(store)
        if address.place != place:
            raise ConfigurationError(
                f"its checkpoint is in {place}; this worker's address for {store!r} is "
                f"{address.place}: set {_variable(store)} to where the checkpoint is until it has "
                "been brought home"
            )
        return self.opened(address)

    def opened(self, address: Address) -> Kept:
        """A store, opened once."""
        if address.store not in self._open:
            make = _client(address.store)
            self._open[address.store] = Kept(address, make(address))
        return self._open[address.store]

    async def close(self) -> None:
        """Gives all connections up."""
        for kept in self._open.values():
            await kept.close()
        self._open.clear()

    def _address(self, store: str) -> Address:
        if store not in self._addresses:
            raise ConfigurationError(
                f"checkpoints: store {store!r}: expected its address in {_variable(store)}, which "
                "is not set"
            )
        return self._addresses[store]


def _variable(store: str) -> str:
    return f"REFOLD_{store.upper()}_URL"


def _client(store: str) -> Any:
    module, name, extra = _STORES[store]
    try:
        return getattr(importlib.import_module(f"refold.store.checkpoints.{module}"), name)
    except ModuleNotFoundError as error:
        if extra is None or (error.name or "").startswith("refold"):
            raise
        raise ConfigurationError(
            f"checkpoints: store {store!r}: expected the package {error.name!r}, which is not "
            f"installed: pip install 'refold[{extra}]'"
        ) from None
