"""Every error passes, or is final, or is unknown; and is told in one short sentence."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
import sqlalchemy.exc
import temporalio.exceptions
from asyncpg.exceptions import _base as asyncpg_base
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DBAPIError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from refold.activities.failures import as_failure
from refold.errors import Fenced, InvalidRequest, PoisonEvent, ProjectionBusy, TargetBehind
from refold.errors.short_failure import is_transient
from refold.runtime.judgement import Judgement, judge, judge_state, told

SECRET = "s3cr3t"

FINAL, PASSING, UNKNOWN = Judgement.FINAL, Judgement.PASSING, Judgement.UNKNOWN

STATES = {
    "08000": PASSING,  # connection exception
    "08003": PASSING,
    "08006": PASSING,
    "08P01": PASSING,  # protocol violation
    "0A000": FINAL,  # feature not supported
    "21000": FINAL,  # cardinality violation
    "22001": FINAL,  # too long
    "22003": FINAL,  # out of range
    "22007": FINAL,
    "22012": FINAL,  # division by zero
    "22021": FINAL,
    "22P02": FINAL,
    "22P05": FINAL,
    "23502": FINAL,  # not null
    "23503": FINAL,  # foreign key
    "23505": FINAL,  # unique
    "23514": FINAL,  # check
    "23P01": FINAL,  # exclusion
    "25001": FINAL,
    "25006": PASSING,  # read-only: a server that was demoted
    "25P02": FINAL,
    "25P03": PASSING,  # idle in transaction for too long
    "26000": UNKNOWN,  # a prepared statement that a pooler has lost
    "28000": FINAL,
    "28P01": FINAL,  # wrong password
    "2BP01": FINAL,  # others depend on it
    "2F003": FINAL,
    "34000": UNKNOWN,
    "3D000": FINAL,  # no such database
    "3F000": FINAL,  # no such schema
    "40001": PASSING,  # serialization
    "40P01": PASSING,  # deadlock
    "42501": FINAL,  # privileges
    "42601": FINAL,
    "42703": FINAL,  # no such column
    "42704": FINAL,  # no such type
    "42846": FINAL,
    "42P01": FINAL,  # no such table
    "42P05": UNKNOWN,  # a prepared statement of another client's of a pooler
    "42P07": FINAL,
    "44000": FINAL,  # a view's check option
    "53100": PASSING,  # disk full
    "53200": PASSING,  # out of memory
    "53300": PASSING,  # too many connections
    "54000": FINAL,  # an index entry that is too large
    "54001": FINAL,
    "55000": UNKNOWN,  # not in the state for it, such as no replica identity
    "55006": PASSING,  # in use
    "55P03": PASSING,  # lock not available
    "57014": PASSING,  # cancelled by somebody, or by a time-out
    "57P01": PASSING,  # the server stops
    "57P03": PASSING,  # the server starts
    "58030": PASSING,  # input and output
    "AB123": UNKNOWN,  # raised by somebody's own function
    "HV000": UNKNOWN,  # a foreign server
    "P0001": FINAL,  # raised by a trigger
    "XX000": PASSING,
}


@pytest.mark.parametrize(("state", "expected"), STATES.items())
def test_a_state_is_judged(state: str, expected: Judgement) -> None:
    assert judge_state(state) is expected
    assert judge(_refused(state, "oh")) is expected
    assert judge(_by_sqlalchemy(_refused(state, "oh"))) is expected


def _refused(state: str, message: str, **more: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": message, **more})


def _by_sqlalchemy(error: Exception) -> DBAPIError:
    try:
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("the adapter's") from inner
    except RuntimeError as orig:
        return DBAPIError("INSERT INTO t VALUES ($1)", [SECRET], orig, hide_parameters=False)


class _Message(BaseModel):
    number: int


def _invalid() -> ValidationError:
    try:
        _Message.model_validate({"number": SECRET})
    except ValidationError as error:
        return error
    raise AssertionError


PYTHON: list[tuple[BaseException, Judgement]] = [
    (ValueError("oh"), UNKNOWN),
    (AssertionError(), UNKNOWN),
    (KeyError("x"), UNKNOWN),
    (RecursionError("deep"), UNKNOWN),
    (MemoryError(), UNKNOWN),
    (StopAsyncIteration(), UNKNOWN),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "oh"), UNKNOWN),
    (_invalid(), UNKNOWN),
    (ConnectionResetError("peer"), PASSING),
    (TimeoutError(), PASSING),
    (OSError(28, "no space"), PASSING),
    (asyncio.IncompleteReadError(b"", 1), UNKNOWN),
    (asyncpg.InterfaceError("connection is closed"), PASSING),
    (asyncpg.ConnectionDoesNotExistError("closed"), PASSING),
    (asyncpg.InvalidCachedStatementError("its plan has changed"), PASSING),
    (sqlalchemy.exc.TimeoutError("the pool is empty"), PASSING),
    (sqlalchemy.exc.InvalidRequestError("wrong"), UNKNOWN),
    (sqlalchemy.exc.InvalidRequestError("This connection is closed"), PASSING),
    (sqlalchemy.exc.InvalidatePoolError("no writes"), PASSING),
    (sqlalchemy.exc.PendingRollbackError("lost"), PASSING),
    (sqlalchemy.exc.ResourceClosedError("closed"), PASSING),
    (RPCError("away", RPCStatusCode.UNAVAILABLE, b""), PASSING),
    (RPCError("what?", RPCStatusCode.INVALID_ARGUMENT, b""), UNKNOWN),
    (ApplicationError("no", non_retryable=True), FINAL),
    (ApplicationError("again"), PASSING),
    (InvalidRequest("no"), FINAL),
    (Fenced("late"), PASSING),
    (ExceptionGroup("both", [TimeoutError(), InvalidRequest("no")]), FINAL),
    (ExceptionGroup("both", [TimeoutError(), OSError()]), PASSING),
]


@pytest.mark.parametrize(("error", "expected"), PYTHON, ids=lambda one: repr(one)[:40])
def test_an_exception_is_judged(error: BaseException, expected: Judgement) -> None:
    assert judge(error) is expected


DETAILS = {"D": f"Key (email)=({SECRET}) exists; row ({SECRET})", "W": f"COPY t, line 1: {SECRET}"}


# The DETAIL of 2BP01 names what depends on an object: people need it, and it holds no values.
@pytest.mark.parametrize("state", [state for state in STATES if state != "2BP01"])
@pytest.mark.parametrize("wrap", [lambda error: error, _by_sqlalchemy])
def test_a_refusal_is_told_without_what_it_is_about(state: str, wrap: Any) -> None:
    message = f'invalid input: "{SECRET} "and" {SECRET}"' if state.startswith("22") else "it says"
    failure = as_failure(wrap(_refused(state, message, **DETAILS)))
    assert SECRET not in str(failure)
    assert "INSERT" not in str(failure)
    assert state in failure.message
    assert failure.non_retryable is (STATES[state] is FINAL)


@pytest.mark.parametrize("wrap", [lambda error: error, _by_sqlalchemy])
def test_a_value_that_the_driver_cannot_send_is_final_and_not_told(wrap: Any) -> None:
    said = f"invalid input for query argument $1: '{SECRET}' (an integer is required)"
    failure = as_failure(wrap(asyncpg_base.DataError(said)))
    assert failure.non_retryable
    assert failure.type == "RowRejected"
    assert SECRET not in failure.message


def test_fields_that_do_not_fit_are_told_without_their_values() -> None:
    assert "number" in told(_invalid())
    assert SECRET not in told(_invalid())


HUGE = "é\N{PILE OF POO}\0\udc80 " * 1_000_000


@pytest.mark.parametrize(
    "error",
    [
        ValueError(HUGE),
        InvalidRequest(HUGE),
        PoisonEvent("p", 1, HUGE, HUGE, HUGE),
        ApplicationError(HUGE, type=HUGE),
        _refused("P0001", HUGE),
        type(HUGE[:1] * 5_000, (Exception,), {})(HUGE),
    ],
    ids=lambda one: type(one).__name__[:20],
)
def test_no_failure_is_long(error: Exception) -> None:
    failure = as_failure(error)
    assert len(str(failure).encode()) < 2_300
    details = str(failure.details).encode()
    assert len(details) < 1_000


def test_what_cannot_say_what_it_is_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

    assert "Mute" in told(Mute())


async def test_no_trace_leaves_with_a_failure() -> None:
    from temporalio.api.failure.v1 import Failure
    from temporalio.converter import DataConverter

    try:
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise as_failure(error) from None
    except temporalio.exceptions.ApplicationError as caught:
        made = Failure()
        await DataConverter.default.encode_failure(caught, made)
    assert made.stack_trace == ""
    assert not made.HasField("cause")
    assert made.message.startswith("ValueError: inner")


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (InvalidRequest("no"), False),
        (PoisonEvent("p", 1, "T", "s", "x"), False),
        (ProjectionBusy("p", "w", "r", "now"), True),
        (TargetBehind("p", 3, "other", 2), True),
        (ConnectionResetError("gone"), True),
        (RuntimeError("nobody knows"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_tells_whether_the_same_may_work_later(error: Exception, transient: bool) -> None:
    assert is_transient(as_failure(error)) is transient
    assert is_transient(as_failure(error, given_up="tried for a minute")) is transient
