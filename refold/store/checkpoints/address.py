"""Addresses of checkpoint stores: which store, where it is, and never a password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from refold.errors import ConfigurationError
from refold.projection.checkpoints import SCHEMES
from refold.runtime.database_url import parse_database_url

EXAMPLES: Mapping[str, str] = {
    "sql": "postgresql://user@host:5432/database",
    "redis": "redis://host:6379/0",
    "dynamodb": "dynamodb://table?region=eu-central-1",
    "cosmosdb": "cosmosdb://account.documents.azure.com/database/container",
}
"""An address of each store, by the name that `Checkpoints.store` has for it."""

# What else an address may say, and what is told of it.
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "dynamodb": ("region", "endpoint"),
    "cosmosdb": ("endpoint",),
}


@dataclass(frozen=True)
class Address:
    """Where a store is.

    Attributes:
        store: ``sql``, ``redis``, ``dynamodb`` or ``cosmosdb``.
        url: The address as it was given.
        place: The same for people and for the record: without user, password and options, but
            for the region of DynamoDB.
        host: The host, or the table of DynamoDB.
        path: The parts of its path.
        options: What follows the question mark, for DynamoDB and Cosmos DB.
        secrets: What must not be told of it.
    """

    store: str
    url: str = field(repr=False)
    place: str
    host: str
    path: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def parse_address(variable: str, url: str) -> Address:
    """Reads an address.

    Args:
        variable: Where it comes from, for the message.
        url: The address.

    Raises:
        ConfigurationError: It is none of a store; the message does not repeat it.
    """
    split = _split(variable, url)
    store = SCHEMES.get(split.scheme)
    if store is None:
        raise ConfigurationError(
            f"{variable}: expected the address of a checkpoint store, such as "
            f"{', '.join(EXAMPLES.values())}, got one for {split.scheme!r}"
        )
    if store == "sql":
        parse_database_url(url, variable=variable)
    path = tuple(unquote(part) for part in split.path.split("/") if part)
    options = _options(variable, store, split)
    host = split.hostname or ""
    if store == "dynamodb":
        host = split.netloc.rpartition("@")[2]  # a table's name keeps its capitals
    if store == "cosmosdb" and len(path) != 2:
        raise ConfigurationError(
            f"{variable}: expected {EXAMPLES[store]}: a host, a database and a container"
        )
    if store in ("dynamodb", "cosmosdb") and not host:
        raise ConfigurationError(f"{variable}: expected {EXAMPLES[store]}, got no host")
    return Address(
        store, url, _place(store, split, host, options), host, path, options, _secrets(split)
    )


def _split(variable: str, url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        if split.scheme != "postgresql":  # it may name several hosts
            _ = split.port
    except ValueError:
        split = SplitResult("", "", "", "", "")
    if not split.scheme or "://" not in url:
        raise ConfigurationError(
            f"{variable}: expected the address of a checkpoint store, such as "
            f"{', '.join(EXAMPLES.values())}, got something that is not a URL"
        )
    return split


def _options(variable: str, store: str, split: SplitResult) -> dict[str, str]:
    if store not in _OPTIONS:
        return {}  # its own client reads them
    options = dict(parse_qsl(split.query))
    unknown = sorted(options.keys() - set(_OPTIONS[store]))
    if unknown:
        raise ConfigurationError(
            f"{variable}: expected no options but {', '.join(_OPTIONS[store])}, got "
            f"{', '.join(unknown)}"
        )
    return options


def _place(store: str, split: SplitResult, host: str, options: Mapping[str, str]) -> str:
    if store == "dynamodb":
        region = options.get("region")
        return f"dynamodb://{host}" + (f"?region={region}" if region else "")
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"


def _secrets(split: SplitResult) -> tuple[str, ...]:
    """The password, as it is written and as it is meant, and passwords among the options."""
    user_info = split.netloc.rpartition("@")[0]
    written = user_info.partition(":")[2]
    found = [written, unquote(written)]
    found += [value for name, value in parse_qsl(split.query) if "password" in name]
    return tuple(dict.fromkeys(one for one in found if one))
