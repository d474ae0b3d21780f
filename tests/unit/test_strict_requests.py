"""Numbers are numbers: what people type as JSON must be of the field's own type."""

from __future__ import annotations

from typing import Any

import pytest

from refold.errors import InvalidRequest
from refold.requests.runs import BackfillRequest, RollbackRequest
from refold.requests.undecodable import Undecodable
from refold.requests.validation import accept_limits, accept_request, in_words

STRICT: dict[str, list[Any]] = {
    "batch_size": [True, "5", 5.0, 5.5, float("nan"), float("inf"), 10**400, 0, -1, [5], {}],
    "max_concurrency": [True, "5", 5.0, 0],
    "from_position": [True, "5", 5.0, -1],
    "to_position": [True, "5", 2**63],
    "last_n": [True, "5", 5.0, 0],
    "events_per_second": [True, "5", float("nan"), float("inf"), 10**400],
    "max_changed_percent": [True, "5", float("nan"), float("inf")],
    "max_removed_rows": [True, "5", 5.0],
    "as_of": [True, "5", 5.0],
    "target_batch_seconds": [True, "5", float("nan"), float("inf")],
    "max_dead_letters": [True, "5", 5.0],
    "is_atomic": [1, 0, "true", "yes"],
    "dry_run": [1, "true"],
    "rollback_on_failure": [1, "true"],
    "create_backup": [1, "true"],
    "requested_by": [1, True, ["me"]],
    "criteria": [1, "FULL_REBUILD", "everything"],
    "approval": [1, True, "Auto"],
    "from_date": [1, 1735689600, 1735689600.0, True, "yesterday", "2025-1-1", "20250101"],
    "throttle": [{"max_active_sessions": True}, {"check_seconds": float("nan")}, []],
    "skip_events": [[True], ["5"], [5.0], 5],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in STRICT.items() for value in values]
)
def test_a_value_of_another_type_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=field):
        accept_request([{"projection": "p", field: value}], BackfillRequest)


RIGHT: dict[str, Any] = {
    "batch_size": 5,
    "events_per_second": 5,
    "max_changed_percent": 5,
    "is_atomic": True,
    "criteria": "from_date",
    "from_date": "2025-01-01T00:00:00Z",
    "approval": "auto",
    "throttle": {"max_active_sessions": 3, "check_seconds": 1},
    "max_removed_rows": 0,
}


def test_what_is_of_its_type_is_taken() -> None:
    assert accept_request([{"projection": "p", **RIGHT}], BackfillRequest).batch_size == 5


@pytest.mark.parametrize("value", [True, "5", 5.0, 0, 2**31])
def test_generations_are_whole_numbers(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="to_generation"):
        accept_request([{"projection": "p", "to_generation": value}], RollbackRequest)


@pytest.mark.parametrize("value", [True, "5", 5.0, float("nan"), float("inf")])
def test_limits_are_strict_too(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="batch_size"):
        accept_limits([{"batch_size": value}])


@pytest.mark.parametrize("value", [True, "5"])
def test_so_are_those_of_code(value: Any) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        BackfillRequest(projection="p", batch_size=value)


def test_what_is_said_is_put_in_words() -> None:
    assert in_words([]) == in_words([None]) == ""
    assert in_words(["enough", "more"]) == "enough"
    assert in_words([{"by": "me"}]) == "{'by': 'me'}"
    assert (
        in_words([Undecodable("it is not JSON")])
        == "something that cannot be read (it is not JSON)"
    )
    assert len(in_words(["x" * 10**6])) == 1001
