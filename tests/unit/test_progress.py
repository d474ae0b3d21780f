"""What a run says of its progress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.messages.run.controls import Controls
from refold.messages.run.life import PartitionProgress, Phase, ProgressReport
from refold.messages.run.plan import Plan
from refold.messages.run.progress import ProgressMeter, as_markdown
from refold.messages.run.status import RunStatus
from refold.requests.limits import Limits

START = datetime(2024, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def plan(total: int = 1000) -> Plan:
    return Plan(
        run_id="r",
        projection="p",
        version=1,
        generation=2,
        atomic=True,
        position=total,
        head=total,
        partitions=2,
        max_concurrency=2,
        batch_size=100,
        total_events=total,
        heartbeat_seconds=10,
    )


def partition(number: int, events: int, total: int = 500) -> PartitionProgress:
    return PartitionProgress(
        partition=number, events_processed=events, total_events=total, done=events >= total
    )


def report(seconds: float, *events: int, followed: int = 0) -> ProgressReport:
    partitions = [partition(number, done) for number, done in enumerate(events)]
    return ProgressReport(partitions=partitions, followed_events=followed, at=at(seconds))


def planned(total: int = 1000) -> ProgressMeter:
    meter = ProgressMeter()
    meter.status = RunStatus.RUNNING
    meter.planned(plan(total), at(0))
    return meter


def test_before_the_plan_nothing_is_known() -> None:
    progress = ProgressMeter().progress()
    assert (progress.status, progress.phase) == (RunStatus.PENDING, Phase.PLANNING)
    assert (progress.total_events, progress.percent_complete) == (0, 0)
    assert progress.estimated_seconds_remaining is None
    assert progress.generation is None


def test_with_the_plan_there_is_a_total_and_no_rate_yet() -> None:
    progress = planned().progress()
    assert (progress.total_events, progress.events_per_second) == (1000, 0)
    assert progress.estimated_seconds_remaining is None
    assert progress.generation == 2


def test_a_rate_tells_how_long_the_rest_will_take() -> None:
    meter = planned()
    meter.observe(report(2, 100, 100))
    progress = meter.progress()
    assert progress.events_processed == 200
    assert progress.percent_complete == 20
    assert progress.events_per_second == 100
    assert progress.estimated_seconds_remaining == 8


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = planned(100_000)
    for second in range(1, 31):  # ten a second, then a hundred
        meter.observe(report(second, followed=10 * second))
    for second in range(31, 61):
        meter.observe(report(second, followed=300 + 100 * (second - 30)))
    assert meter.events_per_second == pytest.approx(100)


def test_a_moment_is_too_short_for_a_rate() -> None:
    meter = planned()
    meter.observe(report(0.1, 100, 0))
    assert meter.progress().estimated_seconds_remaining is None


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_database_whose_clock_is_wrong_does_not_stop_the_rate(ahead: float) -> None:
    meter = planned()
    for second in range(20):
        meter.observe(report(ahead + second, 10 * second, 0))
    assert meter.events_per_second == pytest.approx(10)


def test_an_older_report_changes_nothing() -> None:
    meter = planned()
    meter.observe(report(2, 500, 100))
    before = meter.progress()
    meter.observe(report(1, 300, 50))
    assert meter.progress() == before


def test_reports_that_each_know_one_partition_better_are_both_taken_in() -> None:
    meter = planned()
    meter.observe(report(2, 500, 100))
    meter.observe(report(3, 300, 200))
    assert [p.events_processed for p in meter.progress().partitions] == [500, 200]
    assert [p.done for p in meter.progress().partitions] == [True, False]


def test_events_that_came_after_the_plan_are_added_to_the_total() -> None:
    meter = planned()
    meter.observe(report(1, 500, 500, followed=40))
    progress = meter.progress()
    assert (progress.events_processed, progress.total_events) == (1040, 1040)
    assert progress.percent_complete == 99.9


def test_following_without_partitions_works_off_the_plans_total() -> None:
    meter = planned()
    meter.observe(report(1, followed=250))
    assert (meter.progress().total_events, meter.progress().percent_complete) == (1000, 25)


def test_it_is_complete_when_the_run_is_and_not_before() -> None:
    meter = planned()
    meter.observe(report(1, 500, 500))
    assert meter.progress().percent_complete == 99.9
    meter.status = RunStatus.COMPLETED
    assert meter.progress().percent_complete == 100
    assert meter.progress().estimated_seconds_remaining == 0


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_that_ended_early_stays_where_it_was(status: RunStatus) -> None:
    meter = planned()
    meter.observe(report(1, 500, 0))
    meter.status = status
    assert meter.progress().percent_complete == 50
    assert meter.progress().estimated_seconds_remaining == 0


def test_an_empty_log_is_complete_when_the_run_is() -> None:
    meter = planned(0)
    meter.observe(report(1))
    assert meter.progress().percent_complete == 0
    meter.status = RunStatus.COMPLETED
    assert meter.progress().percent_complete == 100


reports = st.builds(
    lambda seconds, events, followed: report(seconds, *events, followed=followed),
    st.floats(-100, 100),
    st.one_of(st.just(()), st.tuples(st.integers(0, 700), st.integers(0, 700))),
    st.integers(0, 2000),
)


@given(st.lists(reports, max_size=20), st.integers(0, 1500))
def test_whatever_order_reports_come_in_numbers_only_go_up(
    observed: list[ProgressReport], total: int
) -> None:
    meter = planned(total)
    seen = [meter.progress()]
    for each in observed:
        meter.observe(each)
        seen.append(meter.progress())
    for before, after in pairwise(seen):
        assert before.events_processed <= after.events_processed
        assert before.total_events <= after.total_events
        assert before.percent_complete <= after.percent_complete
        for was, became in zip(before.partitions, after.partitions, strict=False):
            assert was.events_processed <= became.events_processed
            assert was.done <= became.done
    for progress in seen:
        assert 0 <= progress.percent_complete <= 99.9
        assert progress.events_processed <= progress.total_events
        assert progress.events_per_second >= 0
        assert (progress.estimated_seconds_remaining or 0) >= 0
    meter.status = RunStatus.COMPLETED
    assert meter.progress().percent_complete == 100


def test_the_temporal_ui_shows_the_run_and_each_partition() -> None:
    meter = planned()
    meter.observe(report(2, 500, 100))
    shown = as_markdown(meter.progress(), "Rebuild of p").replace("\N{NO-BREAK SPACE}", "")
    assert shown.startswith("### Rebuild of p")
    assert "| events | 600 of 1,000 |" in shown
    assert "| complete | 60.0 % |" in shown
    assert "| seconds left | 1 |" in shown
    assert "| 1 | 500 | 500 | done |" in shown
    assert "| 2 | 100 | 500 | in progress |" in shown


def test_dead_letters_are_as_many_as_there_are_now() -> None:
    meter = ProgressMeter()
    meter.observe(report(1, 5).model_copy(update={"dead_letters": 3}))
    assert meter.progress().dead_letters == 3
    assert "dead letters" in as_markdown(meter.progress(), "Backfill")
    # They are healed, or the run continues as new.
    meter = ProgressMeter(meter.progress())
    assert meter.dead_letters == 3
    meter.observe(report(2, 9))
    assert meter.progress().dead_letters == 0
    assert "dead letters" not in as_markdown(meter.progress(), "Backfill")


def test_the_temporal_ui_says_when_nothing_is_known_yet() -> None:
    shown = as_markdown(planned().progress(), "Rebuild of p")
    assert "| seconds left" in shown
    assert "not known yet" in shown


def test_limits_that_it_was_told_are_shown_before_the_plan_and_with_it() -> None:
    meter = ProgressMeter()
    assert meter.progress().limits is None
    assert "limits" not in as_markdown(meter.progress(), "Rebuild of p")
    meter.controls = meter.controls.told(batch_size=100)
    shown = as_markdown(meter.progress(), "Rebuild of p")
    assert "limits: 100 events a batch\n" in f"{shown}\n"
    meter.controls = Controls().told(events_per_second=20)
    assert meter.progress().limits == Limits(events_per_second=20)
    assert "limits: at most 20 events a second" in as_markdown(meter.progress(), "Rebuild of p")
    meter.planned(plan(), at(0))
    assert meter.progress().limits == Limits(
        batch_size=100, max_concurrency=2, events_per_second=20
    )
    assert (
        "limits: 100 events a batch, 2 partitions at a time, at most 20 events a second"
        in as_markdown(meter.progress(), "Rebuild of p")
    )
