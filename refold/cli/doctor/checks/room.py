"""Whether there is room: on the disk, and among the connections."""

from __future__ import annotations

from sqlalchemy import text

from refold.cli.doctor.finding import Finding, ok, unseen, wrong
from refold.cli.doctor.look import Look
from refold.cli.doctor.sizes import size_of
from refold.runtime.database import connections_of, raw
from refold.runtime.sessions import is_pooled
from refold.store import deployments
from refold.store.tables.read_models import quoted
from refold.worker.assembly import MAX_ACTIVITIES

_DISK = text(
    """
    SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS directory,
           pg_database_size(current_database()) AS bytes, coalesce((
               SELECT max(pg_total_relation_size(c.oid)) FROM refold.generations g
               JOIN pg_class c ON c.oid = to_regclass(format('%I.%I', g.schema_name, g.table_name))
               WHERE g.status = 'active'), 0) AS largest
    """
)
_HERE = ("localhost", "127.0.0.1", "::1")
# What sorting, the log and others take beside a new copy.
_SPARE_BYTES = 2**29

# Nobody may see the settings of others' limits; only a superuser is not bound by them.
_LIMITS = text(
    """
    SELECT current_setting('max_connections')::int - (
               SELECT coalesce(sum(setting::int), 0) FROM pg_settings
               WHERE name IN ('superuser_reserved_connections', 'reserved_connections')) AS server,
           CASE WHEN rolsuper OR rolconnlimit < 0 THEN NULL ELSE rolconnlimit END AS role,
           (SELECT CASE WHEN rolsuper OR datconnlimit < 0 THEN NULL ELSE datconnlimit END
            FROM pg_database WHERE datname = current_database()) AS database,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
            AND application_name NOT IN ('refold', current_setting('application_name'))) AS others,
           current_user AS role_name, current_database() AS database_name,
           current_setting('max_connections')::int AS configured
    FROM pg_roles WHERE rolname = current_user
    """
)


async def disk(look: Look) -> list[Finding]:
    """Whether the largest read model can be built anew beside the live one."""
    async with look.connected() as connection:
        row = (await connection.execute(_DISK)).one()
    wanted = 2 * row.largest + _SPARE_BYTES
    sizes = f"the database has {size_of(row.bytes)}, its largest read model {size_of(row.largest)}"
    hosts = look.settings.database_address().hosts
    is_here = all(host in _HERE or host.startswith("/") for host in hosts)
    try:
        free = look.free_bytes(row.directory) if row.directory and is_here else None
    except OSError:  # of another machine, by a tunnel, or in a container
        free = None
    if free is None:
        return [unseen(f"PostgreSQL's disk cannot be seen from here; {sizes}")]
    if free < wanted:
        return [
            wrong(
                f"{size_of(free)} are free where PostgreSQL keeps its data; a rebuild may take "
                f"{size_of(wanted)}: {sizes}",
                f"make room there (`df -h {row.directory}`); `refold generations NAME` lists the "
                "copies that are kept",
            )
        ]
    return [ok(f"{size_of(free)} are free; {sizes}")]


async def connections(look: Look) -> list[Finding]:
    """Whether the server lets the workers that are there open all that they may."""
    async with look.connected() as connection:
        shown = await deployments.lately(connection)
        pooled = is_pooled(await raw(connection))
        row = (await connection.execute(_LIMITS)).one()
    registered = 0 if look.registry is None else len(look.registry)
    most = max([registered, *(len(one.versions) for one in shown)])
    each = connections_of(MAX_ACTIVITIES + most)
    workers = max(len({one.worker for one in shown}), 1)
    wanted = workers * each
    said = f"{workers} worker{'s' * (workers > 1)} may open {wanted} connections"
    if pooled:
        return [ok(f"{said}, to the pooler")]
    role, database = quoted(row.role_name), quoted(row.database_name)
    needed = row.configured + wanted - (row.server - row.others)
    limits = [
        (
            "max_connections",
            row.server - row.others,
            f"ALTER SYSTEM SET max_connections = {needed} and restart PostgreSQL",
        ),
        ("CONNECTION LIMIT of the role", row.role, f"ALTER ROLE {role} CONNECTION LIMIT {wanted}"),
        (
            "CONNECTION LIMIT of the database",
            row.database,
            f"ALTER DATABASE {database} CONNECTION LIMIT {wanted + row.others}",
        ),
    ]
    return [
        wrong(
            f"{said}, and {name} leaves {left} to them",
            f"{remedy}; or run fewer workers, or put a pooler in between",
        )
        for name, left, remedy in limits
        if left is not None and left < wanted
    ] or [ok(f"{said}; there are {row.server - row.others}")]
