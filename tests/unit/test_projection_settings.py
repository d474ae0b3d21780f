"""A projection's settings: given at once, or one after another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Column, MetaData, Table, Text

from refold import BackfillPolicy, Checkpoints, Event, Projection, Row, Snapshots
from refold.errors import ConfigurationError, InvalidProjection
from refold.projection.checkpoints import SAME_DATABASE, SEPARATE
from refold.projection.registry import Registry
from refold.runtime.settings import load_settings


def made(**settings: Any) -> Projection:
    table = Table("kept", MetaData(), Column("id", Text, primary_key=True))
    projection = Projection("kept", table=table, key="stream_id", **settings)

    @projection.on("Opened", "Closed")
    def seen(row: Row | None, event: Event) -> Row:
        return {}

    return projection


def test_left_alone_nothing_is_copied_and_every_batch_moves_the_checkpoint() -> None:
    projection = made()
    assert projection.snapshots == Snapshots.none()
    assert not projection.snapshots.by_itself
    assert projection.checkpoints == Checkpoints()
    assert projection.checkpoints.batch_size(1000) == 1000


def test_settings_one_after_another_are_those_given_at_once() -> None:
    chained = (
        made(backfill=BackfillPolicy(batch_size=7))
        .with_checkpoints(every_n_events=10)
        .with_snapshots(Snapshots.automatic(every_n_events=50, keep_last=2))
        .backfill_from("2026-01-01T00:00:00Z", max_concurrency=2)
    )
    assert chained.backfill == BackfillPolicy(
        batch_size=7,
        max_concurrency=2,
        auto_start=True,
        start_from=datetime(2026, 1, 1, tzinfo=UTC),
    )
    at_once = made(
        checkpoints=Checkpoints(every_n_events=10),
        snapshots=Snapshots.automatic(every_n_events=50, keep_last=2),
    )
    assert chained.checkpoints == at_once.checkpoints
    assert chained.snapshots == at_once.snapshots
    assert chained.with_checkpoints(Checkpoints()).checkpoints == Checkpoints()
    again = chained.backfill_from_beginning(partitions=3)
    assert again is chained
    assert again.backfill == BackfillPolicy(
        batch_size=7, max_concurrency=2, auto_start=True, partitions=3
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"enable_rollback": False, "rollback_on_failure": True}, "rollback_on_failure: expected"),
        ({"enable_rollback": False, "create_backup": True}, "create_backup: expected with enable"),
        ({"enable_rollback": False, "retained_generations": 2}, "retained_generations: expected 0"),
        ({"retained_generations": 0, "create_backup": True}, "create_backup: expected with ret"),
        ({"retained_generations": 0, "enable_rollback": True}, "enable_rollback: expected with"),
    ],
)
def test_a_way_back_that_contradicts_itself_is_refused(
    settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValidationError, match=expected):
        BackfillPolicy(**settings)


def test_what_is_kept_to_roll_back_to() -> None:
    assert BackfillPolicy().kept_generations == 1
    assert BackfillPolicy(retained_generations=0, rollback_on_failure=True).kept_generations == 0
    assert BackfillPolicy(enable_rollback=False).kept_generations == 0
    everything = {"enable_rollback": True, "rollback_on_failure": True, "create_backup": True}
    assert BackfillPolicy(**everything, retained_generations=4).kept_generations == 4


def test_a_checkpoint_is_moved_at_least_as_often_as_asked() -> None:
    checkpoints = Checkpoints(every_n_events=10)
    assert [checkpoints.batch_size(wanted) for wanted in (1, 10, 1000)] == [1, 10, 10]


def test_a_store_is_a_storage_of_its_own() -> None:
    assert Checkpoints().storage == SAME_DATABASE
    assert Checkpoints(store="redis") == Checkpoints(storage=SEPARATE, store="redis")
    assert Checkpoints(storage=SEPARATE).store is None
    assert made().with_checkpoints(store="sql").checkpoints.storage == SEPARATE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"storage": "redis"}, r"storage: expected 'same_database' or 'separate', got 'redis'"),
        ({"store": "mongo"}, r"expected one of 'sql', .*'cosmosdb', got 'mongo'"),
        ({"storage": SAME_DATABASE, "store": "sql"}, "store: expected none with storage"),
    ],
)
def test_a_storage_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidProjection, match=message):
        Checkpoints(**settings)
    with pytest.raises(InvalidProjection, match=message):
        made().with_checkpoints(**settings)


def test_what_makes_a_snapshot_due() -> None:
    automatic = Snapshots.automatic()
    assert (automatic.every_n_events, automatic.keep_last) == (1000, 5)
    assert automatic.by_itself
    assert not Snapshots.manual().by_itself
    assert Snapshots.manual(trigger_on="Closed").trigger_on == ("Closed",)
    both = Snapshots.manual(trigger_on=["Closed", "Opened"], keep_last=3)
    assert (both.trigger_on, both.keep_last) == (("Closed", "Opened"), 3)


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ("none", Snapshots.none()),
        ("automatic", Snapshots.automatic()),
        (" automatic:200 ", Snapshots.automatic(200)),
        ("automatic:200:9", Snapshots.automatic(200, 9)),
        ("automatic:200:all", Snapshots.automatic(200, None)),
    ],
)
def test_a_policy_in_words(words: str, policy: Snapshots) -> None:
    assert Snapshots.parse(words) == policy


@pytest.mark.parametrize("words", ["", "on", "automatic:0", "automatic:5:0", "automatic:5:1001"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match="expected none, automatic, automatic:EVERY"):
        Snapshots.parse(words)


def test_one_setting_turns_snapshots_on_for_all_that_do_not_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFOLD_SNAPSHOTS", "automatic:50")
    silent = made()
    registry = Registry([silent], environment=load_settings().defaults)
    assert registry.get("kept").snapshots == Snapshots.automatic(50)
    silent.with_snapshots(Snapshots.none())
    assert not silent.snapshots.by_itself
    monkeypatch.setenv("REFOLD_SNAPSHOTS", "often")
    with pytest.raises(ConfigurationError, match=r"REFOLD_SNAPSHOTS: .*expected none, automatic"):
        load_settings()


@pytest.mark.parametrize("settings", [{"every_n_events": 0}, {"keep_last": 0}])
def test_numbers_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Snapshots.automatic(**settings)
    with pytest.raises(ValidationError):
        Checkpoints(every_n_events=0)
