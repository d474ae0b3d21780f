"""What a session with PostgreSQL is: whether it writes, through what, of which time and version."""

from __future__ import annotations

from importlib.metadata import version

from sqlalchemy import text
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

from refold.cli.doctor.finding import Finding, mind, ok, wrong
from refold.cli.doctor.look import Look, Need
from refold.runtime.database import raw
from refold.runtime.sessions import is_pooled
from refold.store.tables.read_models import quoted

_WRITES = text(
    """
    SELECT pg_is_in_recovery() AS is_standby, current_database() AS database,
           current_setting('transaction_read_only') = 'on' AS is_read_only
    """
)
# Less is the way of an answer, and does no harm.
_SKEW_SECONDS = 5.0


async def writes(look: Look) -> list[Finding]:
    """Whether the server takes writes."""
    async with look.connected() as connection:
        row = (await connection.execute(_WRITES)).one()
    if row.is_standby:
        return [
            wrong(
                "the address leads to a standby, which takes no writes and does not show who may "
                "still append",
                "let REFOLD_DATABASE_URL lead to the primary: name all hosts in it, with "
                "target_session_attrs=read-write",
            )
        ]
    if row.is_read_only:
        reset = "RESET default_transaction_read_only"
        return [
            wrong(
                "default_transaction_read_only is on: no worker can write",
                f"ALTER DATABASE {quoted(row.database)} {reset}; or, if the role has it, "
                f"ALTER ROLE … {reset}; or, if the server has it, ALTER SYSTEM {reset} and "
                "SELECT pg_reload_conf()",
            )
        ]
    return [ok("it takes writes")]


async def pooler(look: Look) -> list[Finding]:
    """Whether a pooler is in between."""
    async with look.connected() as connection:
        pooled = is_pooled(await raw(connection))
    if not pooled:
        return [ok("no pooler is in between")]
    return [
        mind(
            "a pooler is in between: Refold works through it, and transactions wait for each other "
            "when its pool has fewer connections than the workers open",
            "set default_pool_size to what the check of connections says the workers open",
        )
    ]


async def clocks(look: Look) -> list[Finding]:
    """Whether PostgreSQL's clock and this machine's agree."""
    async with look.connected() as connection:
        await connection.execute(text("SELECT 1"))  # what connecting takes is no skew
        before = look.clock()
        there = await connection.scalar(text("SELECT clock_timestamp()"))
        after = look.clock()
    assert there is not None
    ahead = (there - before - (after - before) / 2).total_seconds()
    if abs(ahead) <= _SKEW_SECONDS:
        return [ok(f"PostgreSQL's and this machine's differ by {abs(ahead):.1f} s")]
    which = "ahead of" if ahead > 0 else "behind"
    return [
        wrong(
            f"PostgreSQL's clock is {abs(ahead):,.0f} s {which} this machine's: lags, dates and "
            "schedules are off by as much",
            "let both machines keep time: `timedatectl set-ntp true`, or `chronyc makestep`",
        )
    ]


async def versions(look: Look) -> list[Finding]:
    """Which versions are at work; nothing is wrong with any."""
    found = [f"Refold {version('refold')}", f"Temporal's SDK {version('temporalio')}"]
    if Need.DATABASE in look.reached:
        async with look.connected() as connection:
            found.append(f"PostgreSQL {await connection.scalar(text('SHOW server_version'))}")
    if Need.TEMPORAL in look.reached:
        told = await look.client.workflow_service.get_system_info(GetSystemInfoRequest())
        found.append(f"Temporal {told.server_version}")
    return [ok(", ".join(found))]
