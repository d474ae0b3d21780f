"""Event stores that cannot be followed in place, each with its reason and a way out."""

from __future__ import annotations

from typing import NoReturn

from refold.errors import ConfigurationError

_COPY = (
    "Give the table a position (ALTER TABLE … ADD COLUMN position bigint GENERATED ALWAYS AS "
    "IDENTITY, with a unique index) and map it with EventSource, or have the application append "
    "to refold.events, too"
)


def _refuse(name: str, why: str) -> NoReturn:
    raise ConfigurationError(f"{name} cannot be followed in place: {why}. {_COPY}")


def akka_r2dbc() -> NoReturn:
    """Akka and Pekko Persistence R2DBC: refused.

    Raises:
        ConfigurationError: Always.
    """
    _refuse(
        "Akka Persistence R2DBC",
        "its events are ordered by the time at which their transaction began, which two may share "
        "and a later one may undercut; it has no position",
    )


def sequent() -> NoReturn:
    """Sequent (Ruby): refused.

    Raises:
        ConfigurationError: Always.
    """
    _refuse("Sequent", "its order is the number of the transaction, which all of its events share")


def cqrs_es() -> NoReturn:
    """cqrs-es for PostgreSQL (Rust): refused.

    Raises:
        ConfigurationError: Always.
    """
    _refuse("cqrs-es", "its events have an order within each aggregate only, and no time")


def debezium_outbox() -> NoReturn:
    """Debezium's outbox: refused.

    Raises:
        ConfigurationError: Always.
    """
    _refuse(
        "Debezium's outbox",
        "its rows are named by random uuids and often deleted by the transaction that wrote them",
    )
