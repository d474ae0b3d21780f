"""Whether an error passes with time, and what is said of it outside of a worker's log."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import asyncpg
import sqlalchemy.exc
from asyncpg.exceptions import _base as asyncpg_base
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import ProjectionBusy, RefoldError
from refold.errors.words import raised, said, shortened
from refold.runtime.database import LOST, server_error


class Judgement(StrEnum):
    """What is to be done about an error."""

    FINAL = "final"
    """The same will be refused again, however often it is tried."""
    PASSING = "passing"
    """It says nothing of what was tried: try again, for as long as it takes."""
    UNKNOWN = "unknown"
    """Nobody knows: try again, a few times."""


# Connections, conflicts, resources, the server being stopped or a statement cancelled from outside,
# the system around it, its own defects; a snapshot that is too old.
_PASSING = frozenset({"08", "40", "53", "57", "58", "72", "XX"})
# Of classes that do not pass: objects and locks in use; a server that has been demoted; sessions
# that have been ended for being slow.
_PASSING_STATES = frozenset({"25006", "25P03", "25P04", "55006", "55P03"})
_FINAL = frozenset(
    {"0A", "0L", "0P", "20", "21", "22", "23", "25", "27", "28", "2B", "2D", "2F", "38", "39", "3B"}
    | {"3D", "3F", "42", "44", "54", "F0", "P0"}
)
# A pooler that gives each transaction another session makes these.
_UNKNOWN_STATES = frozenset({"42P05"})

# The same row will be refused again: types and lengths, constraints, the size of an index entry.
_OF_ROWS = frozenset({"21", "22", "23", "44", "54"})
# Of a statement that writes rows, so are these: a trigger's or a function's own error.
_OF_WRITTEN_ROWS = _OF_ROWS | {"09", "27", "38", "39", "P0"}

_PASSING_STATUSES = frozenset(
    {
        RPCStatusCode.ABORTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.UNKNOWN,
    }
)

_HINTS = {
    "0A": "PostgreSQL cannot do this here",
    "28": "check user, password and pg_hba.conf for the role of REFOLD_DATABASE_URL",
    "3D": "the database of REFOLD_DATABASE_URL is not there",
    "3F": "put the schema back",
    "42501": "grant the role of REFOLD_DATABASE_URL what is missing",
    "42703": "a column was renamed or dropped by hand: put it back, or rebuild",
    "42P01": "a table was renamed or dropped by hand: put it back, or rebuild",
    "42704": "make what is missing, such as a type, an extension or a collation",
    "54": "it is larger than PostgreSQL, or an index, can hold",
    "P0": "a trigger or function of the database raises it",
}
# Of 2BP01, its DETAIL names what depends on an object; raised by somebody's function, anything.
_NAMES_DEPENDENTS = "reportDependentObjects"
# The code and what to do come after it, and must not be cut.
_LONGEST_MESSAGE = 1_000
_START_AGAIN = "mend that, then start it again"

# What is refused is named between these, whatever it holds.
_QUOTED = re.compile(r'"[^"].*"|\'.*\'', re.DOTALL)


def judge(error: BaseException) -> Judgement:
    """What is to be done about an error that work on a run or a live projection has raised."""
    if isinstance(error, BaseExceptionGroup):
        found = {judge(one) for one in error.exceptions}
        worst = (Judgement.FINAL, Judgement.UNKNOWN, Judgement.PASSING)
        return next(one for one in worst if one in found)
    if isinstance(error, RefoldError):
        return Judgement.PASSING if error.retryable else Judgement.FINAL
    if isinstance(error, ApplicationError):
        return Judgement.FINAL if error.non_retryable else Judgement.PASSING
    refused = server_error(error)
    if refused is not None:
        return _judge_refusal(refused)
    return _judge_python(error)


def may_pass(error: BaseException) -> bool:
    """Whether the same may work later though nobody mends anything, as when a run has ended."""
    return judge(error) is not Judgement.FINAL or isinstance(error, ProjectionBusy)


def _judge_refusal(refused: asyncpg.PostgresError) -> Judgement:
    if isinstance(refused, asyncpg.InvalidCachedStatementError):
        return Judgement.PASSING  # its table has changed meanwhile: it is prepared anew
    return judge_state(refused.sqlstate or "")


def judge_state(state: str) -> Judgement:
    """What is to be done about an SQLSTATE, of five characters."""
    if state in _PASSING_STATES or state[:2] in _PASSING:
        return Judgement.PASSING
    if state not in _UNKNOWN_STATES and state[:2] in _FINAL:
        return Judgement.FINAL
    return Judgement.UNKNOWN


def _judge_python(error: BaseException) -> Judgement:
    for one in _chain(error):
        if isinstance(one, asyncpg_base.DataError):
            return Judgement.FINAL  # a value that the driver cannot send
        if isinstance(one, asyncpg_base.ClientConfigurationError):
            return Judgement.UNKNOWN
        if isinstance(one, RPCError):
            passes = one.status in _PASSING_STATUSES
            return Judgement.PASSING if passes else Judgement.UNKNOWN
        if isinstance(one, LOST) or _is_closed(one):
            return Judgement.PASSING
    return Judgement.UNKNOWN


def _is_closed(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    return isinstance(error, sqlalchemy.exc.InvalidRequestError) and "is closed" in said(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.orig if isinstance(one, DBAPIError) and one.orig else one.__cause__


def is_refused_row(error: BaseException, *, written: bool = False) -> bool:
    """Whether PostgreSQL refuses what a row holds, rather than a statement, session or moment.

    Args:
        error: What was raised.
        written: Whether it was raised by a statement that writes rows.
    """
    refused = server_error(error)
    if refused is not None:
        return (refused.sqlstate or "")[:2] in (_OF_WRITTEN_ROWS if written else _OF_ROWS)
    return any(isinstance(one, asyncpg_base.DataError) for one in _chain(error))


def told(error: BaseException) -> str:
    """One short sentence: no SQL, no parameters, nothing that a row or an event holds.

    What a projection's own code says when it raises is told: it is what people need for mending.
    """
    if isinstance(error, BaseExceptionGroup):
        return told(next(one for one in error.exceptions if judge(one) is judge(error)))
    if isinstance(error, (RefoldError, ApplicationError)):
        return said(error)
    refused = server_error(error)
    return _told_python(error) if refused is None else _told_refusal(refused)


def _told_python(error: BaseException) -> str:
    innermost = error
    for one in _chain(error):
        if isinstance(one, asyncpg_base.DataError):
            return shortened(f"PostgreSQL's driver cannot send a value: {_without_values(one)}")
        if isinstance(one, ValidationError):
            return shortened(_told_fields(one))
        innermost = one
    if isinstance(error, sqlalchemy.exc.StatementError):
        return raised(innermost) if innermost is not error else type(error).__name__
    where = "" if judge(error) is Judgement.PASSING else _where(error)
    return shortened(f"{raised(error)}{where}")


def own_words(refused: asyncpg.PostgresError) -> str:
    """PostgreSQL's own message, without the values that those of class 22 name."""
    if (refused.sqlstate or "").startswith("22"):
        return _without_values(refused)
    return str(refused.args[0]) if refused.args else type(refused).__name__


def refusal(refused: asyncpg.PostgresError) -> str:
    """What PostgreSQL refuses, with its code, without what to do about it."""
    # Not its DETAIL, nor its context: these show keys and rows. But what depends on an object.
    state = refused.sqlstate or ""
    message = shortened(own_words(refused), _LONGEST_MESSAGE)
    if state == "2BP01" and refused.server_source_function == _NAMES_DEPENDENTS and refused.detail:
        message += f": {refused.detail}"
    return f"{message} ({state} {type(refused).__name__})" if state else message


def _told_refusal(refused: asyncpg.PostgresError) -> str:
    state = refused.sqlstate or ""
    sentence = f"PostgreSQL: {refusal(refused)}"
    if is_refused_row(refused):
        sentence = (
            f"PostgreSQL refused a row of the read model: {refusal(refused)}: check the handlers "
            "against the table's constraints, types and indexes"
        )
    elif judge(refused) is Judgement.FINAL:
        hint = _HINTS.get(state) or _HINTS.get(state[:2])
        sentence += f": {hint}; {_START_AGAIN}" if hint else f": {_START_AGAIN}"
    return shortened(sentence.replace("\n", " "))


def _without_values(error: BaseException) -> str:
    return _QUOTED.sub("…", said(error).partition("\nDETAIL")[0])


def _told_fields(error: ValidationError) -> str:
    fields = error.errors(include_url=False, include_context=False, include_input=False)
    listed = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in fields[:10])
    return f"{error.title}: {listed}"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" (raised in {Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def traced(error: BaseException) -> str:
    """Where an error was raised, for the worker's log: types and lines of code, no values."""
    parts = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        frames = "".join(traceback.format_tb(one.__traceback__))
        parts.append(f"{frames}{type(one).__module__}.{type(one).__qualname__}")
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\nraised from\n".join(parts)
