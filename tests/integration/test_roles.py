"""Each role has the rights that it needs and no more, and a right that is missing is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.client import Client

from refold.store.roles.names import Roles
from refold.store.roles.script import Scope
from refold.store.schema import metadata
from tests.support.databases import Database
from tests.support.rights.needs import NEEDS, NEEDS_OF_MIRRORS, Right
from tests.support.rights.stage import Stage
from tests.support.rights.step import Step
from tests.support.roles import as_superuser, database_name, give_roles, rights_in, roles_of
from tests.support.soaking import soak

MIRRORING = Scope(mirrors=True)
ALL = {**NEEDS, **NEEDS_OF_MIRRORS}
# One of each kind of object and statement, of each role.
_IN_SUITE: set[Right] = {
    ("worker", "schema", "refold", "USAGE"),
    ("worker", "table", "refold.leases", "DELETE"),
    ("operator", "table", "refold.leases", "UPDATE"),
    ("reader", "schema", "public", "USAGE"),
    ("appender", "table", "refold.events", "INSERT"),
}


@pytest.fixture
async def stage(
    client: Client, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stage:
    """A database with roles, made by the script that operators apply."""
    await give_roles(database, MIRRORING)
    return Stage(client, database, roles_of(database), monkeypatch, tmp_path)


def _normal(database: Database, roles: Roles, right: tuple[str, str, str, str]) -> Right:
    role, kind, thing, privilege = right
    thing = {database_name(database): "", "tables in -": "tables", "schemas in -": "schemas"}.get(
        thing, thing
    )
    return role.removeprefix(roles.prefix), kind, thing, privilege


async def _granted(database: Database) -> set[Right]:
    roles = roles_of(database)
    found = {_normal(database, roles, one) for one in await rights_in(database, roles.all)}
    return {one for one in found if one[3] != "OWNER"}


async def test_each_right_is_needed_by_something_that_is_named(database: Database) -> None:
    roles = await give_roles(database)
    assert await _granted(database) == set(NEEDS)
    found = [_normal(database, roles, one) for one in await rights_in(database, roles.all)]
    owned = {one[:3] for one in found if one[3] == "OWNER"}
    tables = {("migrator", "table", str(table)) for table in metadata.tables}
    # Workers own what they make.
    assert owned == {
        ("migrator", "schema", "refold"),
        ("migrator", "table", "refold.alembic_version"),
        *tables,
    }
    await give_roles(database, MIRRORING)
    assert await _granted(database) == set(ALL)
    await give_roles(database)  # what is not needed any more is taken away
    assert await _granted(database) == set(NEEDS)


def _id(right: Right) -> str:
    return " ".join(part for part in (right[0], right[3], right[2]) if part)


def _params(keep: Callable[[Right], bool]) -> list[object]:
    return [*filter(keep, ALL), *soak(*((one,) for one in ALL if not keep(one)))]


@pytest.mark.parametrize("right", _params(lambda right: right in _IN_SUITE), ids=_id)
async def test_a_right_that_is_missing_is_named(stage: Stage, right: Right) -> None:
    step = ALL[right]
    role, kind, thing, privilege = right
    name = getattr(stage.roles, role)
    late = kind == "default"
    if late:
        await as_superuser(stage.database, _revoked(stage, right))
    await step.prepare(stage)
    if not late:
        await as_superuser(stage.database, _revoked(stage, right))
    said = await step.act(stage)
    assert said, f"{step.name} works without it"
    if kind == "membership":
        assert said == thing
        return
    place = {
        "database": f"DATABASE {database_name(stage.database)}",
        "schema": f"SCHEMA {thing}",
        "table": thing,
        "default": "public.counters" if privilege == "SELECT" else "SCHEMA refold_counters_g3",
    }[kind]
    # On a terminal it may be in several lines.
    assert f"GRANT {privilege} ON {place} TO {name}" in re.sub(r"\s+", " ", said)


def _revoked(stage: Stage, right: Right) -> str:
    role, kind, thing, privilege = right
    name = getattr(stage.roles, role)
    if kind == "membership":
        return f"REVOKE {thing} FROM {name}"
    if kind == "default":
        what, _, schema = thing.partition(" in ")
        where = f"IN SCHEMA {schema} " if schema else ""
        return (
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {stage.roles.worker} {where}"
            f"REVOKE {privilege} ON {what.upper()} FROM {name}"
        )
    place = {"database": "DATABASE {database}", "schema": f"SCHEMA {thing}", "table": thing}[kind]
    return f"REVOKE {privilege} ON {place} FROM {name}"


STEPS = {step.name: step for step in ALL.values()}


@pytest.mark.parametrize("name", soak(*sorted(STEPS)))
async def test_with_all_rights_it_works(stage: Stage, name: str) -> None:
    step: Step = STEPS[name]
    await step.prepare(stage)
    assert await step.act(stage) == ""
