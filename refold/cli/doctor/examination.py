"""All checks, in their order: first what others need, then the rest side by side."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import chain

import asyncpg
from temporalio.service import RPCError

from refold.cli.doctor.checks import (
    events,
    leases,
    leftovers,
    payloads,
    reach,
    rights,
    room,
    server,
    session,
    workers,
)
from refold.cli.doctor.finding import Finding, unseen, wrong
from refold.cli.doctor.look import Check, Look, Need
from refold.errors import RefoldError
from refold.runtime.database import server_error
from refold.runtime.judgement import refusal, told
from refold.runtime.missing_rights import with_right_named

SECONDS = 5.0
"""No check takes longer."""

_SIDE_BY_SIDE = 3

STAGES = (
    (
        Check("projections", reach.projections),
        Check("database", reach.database),
        Check("temporal", reach.temporal),
    ),
    (
        Check("schema", reach.schema, (Need.DATABASE,)),
        Check("namespace", reach.namespace, (Need.TEMPORAL,)),
    ),
    (
        Check("writes", session.writes, (Need.DATABASE,)),
        Check("pooler", session.pooler, (Need.DATABASE,)),
        Check("rights", rights.rights, (Need.SCHEMA,)),
        Check("events", events.events, (Need.SCHEMA,)),
        Check("head", events.head, (Need.SCHEMA,)),
        Check("prepared transactions", events.prepared, (Need.DATABASE,)),
        Check("tables", leftovers.tables, (Need.SCHEMA,)),
        Check("left behind", leftovers.left, (Need.SCHEMA,)),
        Check("leases", leases.leases, (Need.SCHEMA,)),
        Check("disk", room.disk, (Need.SCHEMA,)),
        Check("connections", room.connections, (Need.SCHEMA,)),
        Check("clocks", session.clocks, (Need.DATABASE,)),
        Check("search attributes", server.search_attributes, (Need.NAMESPACE,)),
        Check("fairness", server.fairness, (Need.NAMESPACE,)),
        Check("encryption", payloads.encryption, (Need.NAMESPACE,)),
        Check("workers", workers.workers, (Need.NAMESPACE,)),
        Check("deployed", workers.deployed, (Need.NAMESPACE, Need.SCHEMA, Need.PROJECTIONS)),
        Check("versions", session.versions),
    ),
)
"""What a later stage needs, an earlier one has found."""


async def examine(look: Look) -> list[Finding]:
    """Carries out all checks; what cannot be looked at is said, and the rest is looked at.

    Nothing is changed. A check that raises has found what is wrong.
    """
    places = asyncio.Semaphore(_SIDE_BY_SIDE)
    found: list[list[Finding]] = []
    try:
        for stage in STAGES:
            found += await asyncio.gather(*(_carried_out(check, look, places) for check in stage))
    finally:
        if look.made_engine is not None:
            await look.made_engine.dispose()
    return list(chain.from_iterable(found))


async def _carried_out(check: Check, look: Look, places: asyncio.Semaphore) -> list[Finding]:
    lacking = [need for need in check.needs if need not in look.reached]
    if lacking:
        return [replace(unseen(f"it needs {' and '.join(lacking)}"), check=check.name)]
    async with places:
        try:
            async with asyncio.timeout(SECONDS):
                found = await check.carry_out(look)
        except Exception as error:
            found = [_failed(await _named(look, error))]
    return [replace(one, check=check.name) for one in found]


def _failed(error: Exception) -> Finding:
    if isinstance(error, RefoldError):
        return wrong(str(error))
    if isinstance(error, RPCError):
        return wrong(f"Temporal refuses, or does not answer: {error.message}")
    if isinstance(error, TimeoutError):
        return wrong(
            f"there was no answer within {SECONDS:.0f} s",
            "look whether the server can be reached from here, at its load, and at who holds locks",
        )
    refused = server_error(error)
    if refused is not None:
        return wrong(f"PostgreSQL refuses: {refusal(refused)}", _remedy(refused))
    return wrong(told(error))


async def _named(look: Look, error: Exception) -> Exception:
    """The error, or one that names the right that this command's role lacks."""
    if look.made_engine is None:
        return error
    return await with_right_named(look.made_engine, error)


def _remedy(refused: asyncpg.PostgresError) -> str:
    if isinstance(refused, asyncpg.InsufficientPrivilegeError):
        return "GRANT the role of REFOLD_DATABASE_URL what is missing: see docs/deploy.md"
    return ""
