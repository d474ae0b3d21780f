"""PostgreSQL that refuses what a step does, with any SQLSTATE."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from tests.support.databases import Database

# Which write of each phase is refused: the table, and when.
_WRITES = {
    "planning": ("refold.runs", "BEFORE UPDATE OF plan", ""),
    "refolding": ("refold.partitions", "BEFORE UPDATE", ""),
    "indexing": (
        "refold.generations",
        "BEFORE UPDATE OF position",
        "WHEN (NEW.status = 'building' AND OLD.position IS NULL)",
    ),
    "following": (
        "refold.generations",
        "BEFORE UPDATE OF position",
        "WHEN (NEW.status = 'building' AND OLD.position IS NOT NULL)",
    ),
    "verifying": ("refold.runs", "BEFORE UPDATE OF diff", ""),
    "swapping": (
        "refold.generations",
        "BEFORE UPDATE OF status",
        "WHEN (OLD.status = 'building' AND NEW.status = 'active')",
    ),
    "cleaning up": ("refold.runs", "BEFORE UPDATE OF ended_at", ""),
    "live": ("refold.generations", "BEFORE UPDATE OF position", "WHEN (NEW.status = 'active')"),
}
# Or which command.
_COMMANDS = {"preparing": "'COMMENT'"}


class Refusal:
    """What refuses.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def met(self) -> bool:
        """Whether something was refused: a sequence is not rolled back."""
        async with self._database.engine.connect() as connection:
            found = text("SELECT is_called FROM public.refusals")
            return bool(await connection.scalar(found))


@asynccontextmanager
async def refusing(
    database: Database, phase: str, state: str, secret: str
) -> AsyncIterator[Refusal]:
    """Refuses what a phase writes as long as the context lasts.

    Args:
        database: Where.
        phase: Of `tests.integration.test_failing_steps`.
        state: With this SQLSTATE.
        secret: Stands in the error's DETAIL, as keys and rows do.
    """
    raising = (
        f"PERFORM nextval('public.refusals'); "
        # Long, as what people's own triggers say may be.
        f"RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = 'no' || repeat('é', 50000), "
        f"DETAIL = 'Key (email)=({secret})';"
    )
    made = ["CREATE SEQUENCE IF NOT EXISTS public.refusals"]
    if phase in _WRITES:
        table, when, condition = _WRITES[phase]
        made += [
            "CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$ BEGIN {raising} END $$",
            f"CREATE TRIGGER refuse {when} ON {table} FOR EACH ROW {condition} "
            "EXECUTE FUNCTION public.refuse()",
        ]
        gone = f"DROP TRIGGER refuse ON {table}"
    else:
        made += [
            "CREATE OR REPLACE FUNCTION public.refuse_command() RETURNS event_trigger "
            f"LANGUAGE plpgsql AS $$ BEGIN {raising} END $$",
            "CREATE EVENT TRIGGER refuse ON ddl_command_start "
            f"WHEN TAG IN ({_COMMANDS[phase]}) EXECUTE FUNCTION public.refuse_command()",
        ]
        gone = "DROP EVENT TRIGGER refuse"
    async with database.engine.begin() as connection:
        for statement in made:
            await connection.execute(text(statement))
    try:
        yield Refusal(database)
    finally:
        async with database.engine.begin() as connection:
            await connection.execute(text(gone))
