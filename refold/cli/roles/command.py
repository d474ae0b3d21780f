"""roles: the SQL that makes roles for migrating, working, operating, reading and appending."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from refold.cli.output import console, finished
from refold.projection.registry import Registry
from refold.projection.schemas import DEFAULT_SCHEMA, declared_schema
from refold.runtime.database import make_engine, raw
from refold.runtime.settings import Settings, load_settings
from refold.source.port.current import use_source
from refold.source.port.elsewhere import is_elsewhere
from refold.store.roles.names import PREFIX, Roles
from refold.store.roles.script import Scope, roles_script


def roles(
    *,
    prefix: Annotated[str, typer.Option(help="What the roles' names begin with.")] = PREFIX,
    schema: Annotated[
        list[str] | None,
        typer.Option(help="A schema of read models that no projection here declares; again."),
    ] = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Apply it to REFOLD_DATABASE_URL instead of printing it."),
    ] = False,
) -> None:
    """Print the SQL that makes Refold's database roles.

    One each for migrator, worker, operator, reader and appender, with the rights that they need and
    no more. It may be applied again, by a superuser or the owner of the database.
    """
    script = finished(_script(prefix, schema or []))
    if not apply:
        sys.stdout.write(script)
        return
    finished(_apply(script))
    names = ", ".join(Roles(prefix).all)
    console.print(f"roles {names}: as they should be; give them passwords", soft_wrap=True)


async def _script(prefix: str, schemas: list[str]) -> str:
    settings = load_settings()
    return roles_script(Roles(prefix), scope_of(settings, settings.registry(), schemas))


async def _apply(script: str) -> None:
    engine = make_engine(load_settings(), activities=0)
    try:
        async with engine.connect() as connection:
            await (await raw(connection)).execute(script)
    finally:
        await engine.dispose()


def scope_of(settings: Settings, registry: Registry, schemas: list[str]) -> Scope:
    """What the roles are for, as these settings and projections say."""
    source = use_source(settings)
    reads: set[tuple[str, str]] = set()
    if not source.is_own and not is_elsewhere():
        reads |= {(table.schema or DEFAULT_SCHEMA, table.name) for table in source.tables}
    own = {_place(one.table.fullname) for one in registry}
    refers: set[tuple[str, str]] = set()
    for projection in registry:
        reads |= {_place(name) for name in projection.lookups}
        refers |= {
            _place(key.target_fullname.rpartition(".")[0]) for key in projection.table.foreign_keys
        }
    declared = {declared_schema(one.table) for one in registry} or {DEFAULT_SCHEMA}
    return Scope(
        schemas=sorted({*declared, *schemas}),
        mirrors=bool(settings.mirrors),
        reads=sorted(reads - own),
        refers=sorted(refers - own),
    )


def _place(name: str) -> tuple[str, str]:
    schema, _, table = name.rpartition(".")
    return schema or DEFAULT_SCHEMA, table
