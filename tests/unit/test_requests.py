"""What is said to a request that cannot be one."""

from __future__ import annotations

from typing import Any

import pytest

from refold.errors import InvalidRequest
from refold.requests.criteria import Criteria
from refold.requests.runs import BackfillRequest
from refold.requests.validation import accept_request


def refusal(*inputs: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        accept_request(inputs, BackfillRequest)
    return str(caught.value)


def test_the_least_request_names_a_projection() -> None:
    request = accept_request([{"projection": "order-summary"}], BackfillRequest)
    assert request == BackfillRequest(projection="order-summary")


def test_a_full_request_is_taken_as_it_is() -> None:
    request = accept_request(
        [
            {
                "projection": "order-summary",
                "criteria": "incremental_update",
                "is_atomic": True,
                "batch_size": 500,
                "max_concurrency": 2,
                "requested_by": "me",
            }
        ],
        BackfillRequest,
    )
    assert request.criteria is Criteria.INCREMENTAL_UPDATE
    assert (request.is_atomic, request.batch_size, request.max_concurrency) == (True, 500, 2)


def test_null_stands_for_left_out() -> None:
    request = accept_request(
        [{"projection": "p", "criteria": None, "batch_size": None}], BackfillRequest
    )
    assert request == BackfillRequest(projection="p")


def test_without_input_it_says_what_to_send() -> None:
    assert refusal() == (
        'input: expected one JSON object such as {"projection": "order-summary"}, got no input'
    )


def test_two_arguments_are_one_too_many() -> None:
    assert refusal({"projection": "p"}, {}).endswith("got 2 arguments")


@pytest.mark.parametrize("value", [None, [], [{"projection": "p"}], "order-summary", 7, True])
def test_what_is_no_object_is_shown(value: Any) -> None:
    message = refusal(value)
    assert 'input: expected one JSON object such as {"projection": "order-summary"}' in message
    assert message.endswith(f"got {value!r}")


def test_a_missing_projection_is_asked_for() -> None:
    assert 'projection: required, such as {"projection": "order-summary"}' in refusal({})


def test_an_unknown_field_is_answered_with_those_there_are() -> None:
    message = refusal({"projection": "p", "batchsize": 5})
    assert (
        "batchsize: not a field of the request; accepted: projection, requested_by, "
        "correlation_id, criteria" in message
    )
    assert "batch_size" in message


def test_wrong_criteria_are_answered_with_those_there_are() -> None:
    message = refusal({"projection": "p", "criteria": "everything"})
    assert message.startswith("invalid request: criteria: ")
    for criteria in Criteria:
        assert repr(criteria.value) in message
    assert message.endswith("got 'everything'")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("projection", 7, "valid string"),
        ("projection", None, "valid string"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("batch_size", 100_001, "less than or equal to 100000"),
        ("batch_size", "many", "valid integer"),
        ("batch_size", 1.5, "valid integer"),
        ("batch_size", [1], "valid integer"),
        ("max_concurrency", 65, "less than or equal to 64"),
        ("is_atomic", "perhaps", "valid boolean"),
        ("requested_by", {"name": "me"}, "valid string"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    field: str, value: Any, expected: str
) -> None:
    message = refusal({"projection": "p", field: value})
    assert message.startswith(f"invalid request: {field}: ")
    assert expected in message
    assert message.endswith(f"got {value!r}")


def test_all_that_is_wrong_is_said_at_once() -> None:
    message = refusal({"criteria": "all", "batch_size": 0, "atomic": True})
    for field in ("projection: ", "criteria: ", "batch_size: ", "atomic: "):
        assert field in message


def test_a_long_value_is_cut() -> None:
    assert len(refusal("x" * 10_000)) < 300


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tenant": "a\0b"}, "tenant"),
        ({"requested_by": "a\ud800b"}, "requested_by"),
        ({"throttle": {"hold_while": "'\0' = ''"}}, "throttle.hold_while"),
        ({"a\0": 1}, "input"),
    ],
)
def test_text_that_postgresql_cannot_store_is_refused(fields: dict[str, Any], named: str) -> None:
    said = refusal({"projection": "p", **fields})
    assert said.startswith(f"invalid request: {named}: expected text without NUL")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_removed_rows": 1e30}, "max_removed_rows: "),
        ({"events_per_second": 1e-300}, "events_per_second: expected 0, for no limit, or 0.001"),
    ],
)
def test_numbers_that_nothing_can_be_done_with_are_refused(
    fields: dict[str, Any], expected: str
) -> None:
    assert expected in refusal({"projection": "p", **fields})


def test_an_empty_predicate_is_not_everything() -> None:
    for name in ("predicate", "predicate_name"):
        request = accept_request([{"projection": "p", name: ""}], BackfillRequest)
        assert request.criteria is Criteria.CUSTOM_PREDICATE
