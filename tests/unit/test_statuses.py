"""The statuses of a run, and which may follow which."""

from __future__ import annotations

import re
from pathlib import Path

from refold.messages.run.status import TRANSITIONS, WORKED, RunStatus

CONTRACT = (
    "pending running pausing paused awaiting_approval cancelling cancelled completed failed "
    "rolling_back rolled_back undone"
)
PAGE = Path(__file__).parents[2] / "docs/understanding-progress.md"


def test_the_statuses_are_those_of_the_contract() -> None:
    assert set(RunStatus) == set(CONTRACT.split()) == set(TRANSITIONS)


def test_every_status_can_be_reached() -> None:
    reached, waiting = set(), [RunStatus.PENDING]
    while waiting:
        status = waiting.pop()
        if status not in reached:
            reached.add(status)
            waiting += TRANSITIONS[status]
    assert reached == set(RunStatus)


def test_ends_have_no_exit_and_everything_else_has_an_end() -> None:
    ends = {status for status in RunStatus if status.ended}
    assert ends == {"cancelled", "completed", "failed", "rolled_back", "undone"}
    assert set(WORKED) < ends
    for status in set(RunStatus) - ends:
        assert RunStatus.PENDING not in TRANSITIONS[status]
        assert status not in TRANSITIONS[status]


def test_the_page_shows_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    shown = {name: re.findall(r"`(\w+)`", following) for name, following in rows}
    assert {name: shown[name] for name in RunStatus} == {
        status.value: [one.value for one in following] for status, following in TRANSITIONS.items()
    }
