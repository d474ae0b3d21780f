"""Faults of a deployment, each put in on purpose, for `refold doctor` to find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from refold.source.port.current import using
from refold.store import leases
from refold.worker.executions import TemporalExecutions
from tests.support.counters import counters, registry_of, siblings
from tests.support.mapped import log_of
from tests.support.patient import Patient
from tests.support.poolers import pgbouncer, until_answers
from tests.support.ports import free_port
from tests.support.settling import session, write
from tests.support.store_shapes import EMMETT

Put = Callable[[Patient], Awaitable[None]]


@dataclass(frozen=True)
class Ailment:
    """A fault.

    Attributes:
        name: For the test's name.
        put_in: What puts it in.
        check: The check that finds it.
        found: What its finding says.
        remedy: What its remedy says, or what it says to do itself.
        level: How bad it is.
        mends: Whether the remedy is SQL as it stands, after which nothing is wrong any more.
        also: Checks that find something, too.
    """

    name: str
    put_in: Put
    check: str
    found: str
    remedy: str
    level: str = "wrong"
    mends: bool = False
    also: frozenset[str] = field(default_factory=frozenset)


def _statements(*statements: str) -> Put:
    async def put(patient: Patient) -> None:
        names = {"database": urlsplit(patient.database.url).path[1:]}
        await patient.execute(*[one.format(**names) for one in statements])

    return put


def _role_without(*statements: str) -> Put:
    async def put(patient: Patient) -> None:
        await patient.log_in(*statements)

    return put


async def _nobody_listens(patient: Patient) -> None:
    patient.address(f"postgresql://postgres:hidden@127.0.0.1:{free_port()}/refold")


async def _through_a_pooler(patient: Patient, mode: str) -> None:
    pooler = pgbouncer(patient.database.url, patient.directory, mode=mode)
    url, _ = patient.stack.enter_context(pooler)
    await until_answers(url)
    patient.address(url)


async def _pooled(patient: Patient) -> None:
    await _through_a_pooler(patient, "transaction")


async def _pooled_by_statement(patient: Patient) -> None:
    await _through_a_pooler(patient, "statement")


async def _no_temporal(patient: Patient) -> None:
    patient.environment.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{free_port()}")


async def _no_namespace(patient: Patient) -> None:
    patient.environment.setenv("TEMPORAL_NAMESPACE", "nowhere")


async def _unlisted(patient: Patient) -> None:
    patient.environment.setenv("TEMPORAL_NAMESPACE", "default")


async def _nobody_polls(patient: Patient) -> None:
    settings = patient.look.settings.model_copy(update={"task_queue": "nobody"})
    patient.look.settings = settings


async def _not_shown(patient: Patient) -> None:
    await patient.execute("UPDATE refold.deployments SET seen_at = now() - interval '61 s'")


async def _lacks_a_projection(patient: Patient) -> None:
    await patient.show(registry_of(siblings()[0]))


async def _is_older(patient: Patient) -> None:
    newer = counters()
    newer.version = 2
    patient.look.registry = registry_of(newer)


async def _cannot_be_imported(patient: Patient) -> None:
    patient.look.registry = None
    settings = patient.look.settings.model_copy(update={"projections": ["no_such_module"]})
    patient.look.settings = settings


async def _writes_for_long(patient: Patient) -> None:
    writer = await patient.stack.enter_async_context(session(patient.database))
    await writer.execute("BEGIN")
    await write(writer)
    patient.look.frozen_seconds = 0.0


async def _stuck_lease(patient: Patient, installation: str | None) -> None:
    own = await TemporalExecutions(patient.client).installation()
    async with patient.database.engine.begin() as connection:
        await leases.acquire(
            connection,
            "counters",
            run_id="0123-run",
            workflow_id="rebuild/counters",
            namespace=own.namespace if installation is None else "gone",
            installation=own.id if installation is None else installation,
        )
    await patient.execute("UPDATE refold.leases SET renewed_at = now() - interval '5 min'")


async def _workflow_is_gone(patient: Patient) -> None:
    await _stuck_lease(patient, None)


async def _installation_is_gone(patient: Patient) -> None:
    await _stuck_lease(patient, "another")


async def _many_workers(patient: Patient) -> None:
    await patient.show(registry_of(counters()), workers=20)


async def _clock_goes_wrong(patient: Patient) -> None:
    right = patient.look.clock
    patient.look.clock = lambda: right() - timedelta(seconds=61)


async def _disk_is_full(patient: Patient) -> None:
    patient.look.free_bytes = lambda directory: 1000


async def _positions_without_an_index(patient: Patient) -> None:
    log = await patient.stack.enter_async_context(log_of(EMMETT, patient.database))
    await log.append(5)
    await patient.execute("ANALYZE")
    patient.stack.enter_context(using(EMMETT.source()))


_A_TABLE = (
    "CREATE TABLE public.counters (key text PRIMARY KEY)",
    "INSERT INTO refold.generations (projection, generation, version, status, schema_name, "
    "table_name, position) VALUES ('counters', 1, 1, 'active', 'public', 'counters', 0)",
)
_READ_ONLY = "ALTER DATABASE {database} SET default_transaction_read_only = on"

AILMENTS = (
    Ailment(
        "no right to make schemas",
        _role_without("REVOKE CREATE ON DATABASE {database} FROM {role}"),
        *("rights", "may not create schemas", "GRANT CREATE ON DATABASE"),
        mends=True,
    ),
    Ailment(
        "a table of Refold's that the role may not write",
        _role_without("REVOKE UPDATE, DELETE ON refold.runs, refold.leases FROM {role}"),
        *("rights", "lacks UPDATE, DELETE", "GRANT UPDATE, DELETE ON refold.leases, refold.runs"),
        mends=True,
    ),
    Ailment(
        "no table may be made where readers look",
        _role_without(
            "REVOKE CREATE ON SCHEMA public FROM {role}",
        ),
        *("rights", "may not create tables in schema public", "GRANT USAGE, CREATE ON SCHEMA"),
        mends=True,
    ),
    Ailment(
        "a read model that is somebody else's",
        _role_without(*_A_TABLE),
        *("rights", "public.counters is owned by postgres", "ALTER TABLE public.counters OWNER"),
    ),
    Ailment(
        "events that the role may not read",
        _role_without("REVOKE SELECT ON refold.events FROM {role}"),
        *("events", "may not read refold.events", "SELECT on it"),
    ),
    Ailment(
        "Refold's schema is closed to the role",
        _role_without("REVOKE ALL ON SCHEMA refold FROM {role}"),
        *("schema", "permission denied for schema refold", "GRANT USAGE ON SCHEMA refold TO"),
        mends=True,
    ),
    Ailment(
        "a sequence with a cache",
        _statements("ALTER SEQUENCE refold.events_position_seq CACHE 50"),
        *("events", "has CACHE 50", "ALTER SEQUENCE refold.events_position_seq CACHE 1"),
    ),
    Ailment(
        "not migrated",
        _statements("DROP SCHEMA refold CASCADE"),
        *("schema", "found none", "refold migrate"),
    ),
    Ailment("no database", _nobody_listens, "database", "does not answer", "REFOLD_DATABASE_URL"),
    Ailment(
        "a pooler in statement mode",
        _pooled_by_statement,
        *("database", "statement mode", "set its pool_mode to transaction"),
    ),
    Ailment(
        "a pooler in transaction mode",
        _pooled,
        *("pooler", "a pooler is in between", "default_pool_size"),
        level="mind",
    ),
    Ailment(
        "transactions are read only",
        _statements(_READ_ONLY),
        *("writes", "default_transaction_read_only is on", "ALTER DATABASE"),
    ),
    Ailment("no Temporal", _no_temporal, "temporal", "does not answer", "TEMPORAL_ADDRESS"),
    Ailment(
        "no namespace",
        _no_namespace,
        *("namespace", "no namespace 'nowhere'", "temporal operator namespace create -n nowhere"),
    ),
    Ailment(
        "no search attributes",
        _unlisted,
        *("search attributes", "has no RefoldProjection", "refold migrate"),
        also=frozenset({"workers"}),
    ),
    Ailment(
        "no worker",
        _nobody_polls,
        *("workers", "no worker polls task queue 'nobody'", "refold worker"),
    ),
    Ailment(
        "workers on another database",
        _not_shown,
        *("workers", "no worker of it has shown itself", "REFOLD_DATABASE_URL"),
        level="mind",
    ),
    Ailment(
        "a worker without a projection",
        _lacks_a_projection,
        *("deployed", "has no projection counters", "REFOLD_PROJECTIONS"),
    ),
    Ailment(
        "a worker of older code",
        _is_older,
        *("deployed", "has version 1 of counters, here it is 2", "deploy this code"),
    ),
    Ailment(
        "projections that cannot be imported",
        _cannot_be_imported,
        *("projections", "no_such_module", "REFOLD_PROJECTIONS"),
    ),
    Ailment(
        "a transaction that keeps the head",
        _writes_for_long,
        *("head", "a transaction open", "SELECT pg_terminate_backend("),
    ),
    Ailment(
        "a schema of no generation",
        _statements("CREATE SCHEMA refold_gone_g7", "CREATE TABLE refold_gone_g7.gone (n int)"),
        *("tables", "schema refold_gone_g7", "DROP SCHEMA refold_gone_g7 CASCADE"),
        mends=True,
    ),
    Ailment(
        "a read model that somebody has dropped",
        _statements(*_A_TABLE, "DROP TABLE public.counters"),
        *("tables", "public.counters is gone", "refold rebuild counters"),
    ),
    Ailment(
        "a lease whose workflow is gone",
        _workflow_is_gone,
        *("leases", "held by run 0123-run", "refold worker"),
    ),
    Ailment(
        "a lease of an installation that is gone",
        _installation_is_gone,
        *("leases", "of another installation", "refold release counters --run 0123-run"),
    ),
    Ailment(
        "something that workers could not drop",
        _statements(
            "INSERT INTO refold.left_behind (chore, projection, item, reason) "
            "VALUES ('sweep', 'counters', 'generation 3', 'a view needs it: drop the view')"
        ),
        *("left behind", "generation 3", "drop the view"),
    ),
    Ailment(
        "fewer connections than the workers open",
        _many_workers,
        *("connections", "21 workers may open", "ALTER SYSTEM SET max_connections"),
    ),
    Ailment("a clock that goes wrong", _clock_goes_wrong, "clocks", "61 s ahead", "timedatectl"),
    Ailment("a full disk", _disk_is_full, "disk", "are free where PostgreSQL", "make room"),
    Ailment(
        "positions without an index",
        _positions_without_an_index,
        *("events", "positions have no index", "CREATE INDEX ON public.emt_messages (global"),
        level="mind",
    ),
)
