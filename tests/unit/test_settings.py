"""Settings from the environment."""

from __future__ import annotations

import os

import pytest

from refold.errors import ConfigurationError
from refold.runtime.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("REFOLD_")]:
        monkeypatch.delenv(name)


def test_without_variables_there_are_defaults_and_no_database() -> None:
    settings = load_settings()
    assert (settings.projections, settings.task_queue) == (["projections"], "refold")
    assert settings.database_url is None


def test_a_missing_database_is_said_clearly() -> None:
    with pytest.raises(ConfigurationError, match="REFOLD_DATABASE_URL is not set: expected"):
        load_settings().database_address()


def test_an_empty_database_url_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_DATABASE_URL", "")
    with pytest.raises(ConfigurationError, match="REFOLD_DATABASE_URL is not set"):
        load_settings().database_address()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_any_postgresql_url_is_taken(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("REFOLD_DATABASE_URL", f"{scheme}://me:p%40ss@db.example:6432/shop")
    url = load_settings().database_address()
    assert (url.hosts, url.ports, url.database) == (("db.example",), (6432,), "shop")
    assert (url.user, url.password) == ("me", "p@ss")


@pytest.mark.parametrize("url", ["mysql://me:secret@db/shop", "postgresql+psycopg://db/shop"])
def test_another_database_is_refused_by_its_scheme(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a PostgreSQL address") as caught:
        Settings(database_url=url).database_address()
    assert f"got one for '{url.partition(':')[0]}'" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["secret", "postgresql://me:secret@db:port/shop", "://secret"])
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="something that is not a URL") as caught:
        Settings(database_url=url).database_address()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "modules"),
    [
        ("a", ["a"]),
        ("a,b.c", ["a", "b.c"]),
        (" a , b ,", ["a", "b"]),
        ("", []),
    ],
)
def test_modules_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, modules: list[str]
) -> None:
    monkeypatch.setenv("REFOLD_PROJECTIONS", value)
    assert load_settings().projections == modules


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REFOLD_SEGMENT_SECONDS", "soon", "valid number"),
        ("REFOLD_SEGMENT_SECONDS", "0", "greater than 0"),
        ("REFOLD_SEGMENT_SECONDS", "nan", "less than or equal to 600"),
        ("REFOLD_HEARTBEAT_TIMEOUT_SECONDS", "0.5", "greater than or equal to 1"),
        ("REFOLD_TASK_QUEUE", "", "at least 1 character"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: .*{expected}.*, got '{value}'"):
        load_settings()


def test_variables_of_others_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_SOMETHING_ELSE", "x")
    assert load_settings().task_queue == "refold"
