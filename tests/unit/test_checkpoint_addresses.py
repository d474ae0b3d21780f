"""Where checkpoints are kept: addresses, and what a worker needs before it starts."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from refold import Checkpoints, Projection
from refold.errors import ConfigurationError
from refold.projection.checkpoints import SAME_DATABASE, SEPARATE, STORES
from refold.projection.defaults import Defaults, Origin
from refold.runtime.settings import Settings
from refold.store.checkpoints.address import EXAMPLES, parse_address
from refold.store.checkpoints.stores import CheckpointStores
from tests.support.counters import counters

SECRET = "s3cr3t:value"


def settings(**fields: Any) -> Settings:
    return Settings(_env_file=None, **fields)


@pytest.mark.parametrize("store", STORES)
def test_the_example_of_each_store_is_one(store: str) -> None:
    assert parse_address("X", EXAMPLES[store]).store == store


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://me:s3cr3t%3Avalue@cache:6380/2?x=1", "redis://cache:6380/2"),
        ("rediss://:s3cr3t%3Avalue@cache", "rediss://cache"),
        ("postgresql://me:s3cr3t%3Avalue@a:1,b:2/shop", "postgresql://a:1,b:2/shop"),
        ("postgresql://host/shop?password=s3cr3t%3Avalue", "postgresql://host/shop"),
        (
            "dynamodb://Checkpoints?region=eu-central-1&endpoint=http://127.0.0.1:8000",
            "dynamodb://Checkpoints?region=eu-central-1",
        ),
        ("cosmosdb://a.documents.azure.com/db/c", "cosmosdb://a.documents.azure.com/db/c"),
    ],
)
def test_a_place_is_told_without_credentials(url: str, place: str) -> None:
    address = parse_address("X", url)
    assert address.place == place
    assert "s3cr3t" not in repr(address)
    if "s3cr3t" in url:
        assert SECRET in address.secrets


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3cr3t", "got something that is not a URL"),
        ("redis://:s3cr3t@host:port/0", "got something that is not a URL"),
        ("mongodb://me:s3cr3t@host/db", "got one for 'mongodb'"),
        ("postgresql://me:s3cr3t@h/d?hostaddr=1.2.3.4", "hostaddr"),
        ("cosmosdb://host/database", "a host, a database and a container"),
        ("dynamodb://?region=x", "got no host"),
        ("dynamodb://table?key=s3cr3t", "expected no options but region, endpoint, got key"),
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"REFOLD_CHECKPOINTS: .*{message}") as refused:
        CheckpointStores(settings(checkpoints=url))
    assert "s3cr3t" not in str(refused.value)


def test_an_address_of_another_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="REFOLD_REDIS_URL: expected the address of a"):
        CheckpointStores(settings(redis_url="postgresql://host/db"))


def kept(**own: Any) -> Projection:
    return counters().with_checkpoints(**own)


def test_a_projection_wins_over_what_holds_for_all() -> None:
    stores = CheckpointStores(settings(checkpoints="redis://a:1", sql_url="postgresql://b:2/c"))
    places = [
        None if address is None else address.place
        for address in (
            stores.declared(Checkpoints(**own))
            for own in ({}, {"storage": SAME_DATABASE}, {"storage": SEPARATE}, {"store": "sql"})
        )
    ]
    assert places == ["redis://a:1", None, "redis://a:1", "postgresql://b:2/c"]
    assert CheckpointStores(settings()).declared(Checkpoints()) is None


def test_what_is_in_force_says_where_it_comes_from() -> None:
    environment = settings(checkpoints="redis://a:1").defaults
    for own, expected in [
        ({}, ("separate", "redis", Origin.ENVIRONMENT)),
        ({"storage": SAME_DATABASE}, (SAME_DATABASE, None, Origin.PROJECTION)),
        ({"store": "sql"}, ("separate", "sql", Origin.PROJECTION)),
    ]:
        projection = kept(**own)
        projection.policies.take(Defaults(), environment)
        found = {name: (value, origin) for name, value, origin in projection.policies.in_force()}
        storage, origin = found["checkpoints.storage"]
        assert (storage, found["checkpoints.store"][0], origin) == expected


@pytest.mark.parametrize(
    ("own", "fields", "message"),
    [
        ({"store": "redis"}, {}, "expected its address in REFOLD_REDIS_URL, which is not set"),
        ({"storage": SEPARATE}, {}, "or the address of one in REFOLD_CHECKPOINTS"),
    ],
)
def test_a_worker_does_not_start_without_an_address(
    own: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"projection 'counters': .*{message}"):
        CheckpointStores(settings(**fields)).require([kept(**own)])


@pytest.mark.parametrize(
    ("store", "package", "extra"),
    [
        ("redis", "redis", "redis"),
        ("dynamodb", "aiobotocore", "dynamodb"),
        ("cosmosdb", "azure", "cosmos"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, store: str, package: str, extra: str
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    stores = CheckpointStores(settings(**{f"{store}_url": EXAMPLES[store]}))
    monkeypatch.setattr(importlib, "import_module", missing)
    expected = rf"package '{package}', which is not installed: pip install 'refold\[{extra}\]'"
    with pytest.raises(ConfigurationError, match=expected):
        stores.require([kept(store=store)])
