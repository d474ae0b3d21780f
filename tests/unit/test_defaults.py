"""Settings for all projections: what is in force is the projection's own word, if it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refold import BackfillPolicy, Checkpoints, Defaults, Snapshots
from refold.errors import ConfigurationError, InvalidProjection
from refold.projection.declaration import Projection
from refold.projection.defaults import Origin
from refold.projection.registry import Registry, load_registry
from refold.runtime.settings import load_settings
from tests.support.counters import counters


def in_force(projection: Projection) -> dict[str, tuple[Any, Origin]]:
    return {name: (value, origin) for name, value, origin in projection.policies.in_force()}


def test_the_first_that_says_something_wins_setting_by_setting() -> None:
    own = counters()
    own.policies.set_own(backfill=BackfillPolicy(batch_size=7))
    Registry(
        [own],
        defaults=Defaults(backfill=BackfillPolicy(batch_size=8, max_concurrency=2)),
        environment=Defaults(
            backfill=BackfillPolicy(max_concurrency=3, partitions=5),
            checkpoints=Checkpoints(every_n_events=10),
        ),
    )
    settings = in_force(own)
    assert settings["backfill.batch_size"] == (7, Origin.PROJECTION)
    assert settings["backfill.max_concurrency"] == (2, Origin.DEFAULTS)
    assert settings["backfill.partitions"] == (5, Origin.ENVIRONMENT)
    assert settings["checkpoints.every_n_events"] == (10, Origin.ENVIRONMENT)
    assert settings["backfill.auto_start"] == (False, Origin.BUILT_IN)
    assert (own.backfill.batch_size, own.backfill.max_concurrency) == (7, 2)
    assert (own.backfill.partitions, own.checkpoints.every_n_events) == (5, 10)


def test_what_is_said_aloud_wins_though_it_is_what_refold_does_anyway() -> None:
    own = counters()
    own.policies.set_own(backfill=BackfillPolicy(batch_size=1000))
    Registry([own], defaults=Defaults(backfill=BackfillPolicy(batch_size=8)))
    assert in_force(own)["backfill.batch_size"] == (1000, Origin.PROJECTION)


@pytest.mark.parametrize("own", [None, Snapshots.none(), Snapshots.manual(trigger_on="Added")])
def test_snapshots_are_taken_whole(own: Snapshots | None) -> None:
    projection = counters()
    if own is not None:
        projection.with_snapshots(own)
    everywhere = Snapshots.automatic(every_n_events=50, keep_last=2)
    Registry([projection], defaults=Defaults(snapshots=everywhere))
    assert projection.snapshots == (own or everywhere)


def test_criteria_are_taken_whole() -> None:
    projection = counters()
    projection.policies.set_own(backfill=BackfillPolicy(from_date="2026-01-01T00:00:00Z"))
    last_days = BackfillPolicy(criteria="last_n_days", last_n=30, batch_size=9)
    Registry([projection], defaults=Defaults(backfill=last_days))
    assert (projection.backfill.last_n, projection.backfill.batch_size) == (None, 9)
    assert projection.backfill.from_date is not None


def test_another_registry_has_other_defaults() -> None:
    projection = counters()
    Registry([projection], defaults=Defaults(backfill=BackfillPolicy(partitions=8)))
    Registry([projection])
    assert projection.backfill.partitions is None


def test_settings_that_contradict_one_another_are_refused_by_name() -> None:
    projection = counters()
    projection.policies.set_own(backfill=BackfillPolicy(create_backup=True))
    without = Defaults(backfill=BackfillPolicy(enable_rollback=False))
    with pytest.raises(InvalidProjection, match=r"counters: .*defaults: .*enable_rollback"):
        Registry([projection], defaults=without)


def test_they_are_found_in_a_module_and_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = (
        "from sqlalchemy import Column, MetaData, Table, Text\n"
        "from refold import BackfillPolicy, Defaults, Projection\n"
        "table = Table('t', MetaData(), Column('k', Text, primary_key=True))\n"
        "p = Projection('p', table=table, key='stream_id')\n"
        "@p.on('A')\n"
        "def a(row, event): return {}\n"
        "everywhere = Defaults(backfill=BackfillPolicy(batch_size=123))\n"
    )
    (tmp_path / "with_defaults.py").write_text(model)
    (tmp_path / "two_defaults.py").write_text("from with_defaults import *\nmore = Defaults()\n")
    assert load_registry(["with_defaults"]).get("p").backfill.batch_size == 123
    with pytest.raises(InvalidProjection, match=r"expected one Defaults\(\.\.\.\)"):
        load_registry(["with_defaults", "two_defaults"])


def test_the_environment_has_them_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_BACKFILL", '{"batch_size": 500}')
    monkeypatch.setenv("REFOLD_SNAPSHOTS", '{"strategy": "automatic", "every_n_events": 10}')
    defaults = load_settings().defaults
    assert defaults.backfill == BackfillPolicy(batch_size=500)
    assert defaults.snapshots == Snapshots.automatic(every_n_events=10, keep_last=None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", r"REFOLD_BACKFILL: expected JSON, such as \{\"batch_size\": 500\}"),
        ('{"batch', r"REFOLD_BACKFILL: expected JSON"),
        ("7", "REFOLD_BACKFILL: "),
        ('{"batch_size": 0}', "REFOLD_BACKFILL: batch_size: .*greater than or equal to 1, got 0"),
        ('{"batches": 3}', "REFOLD_BACKFILL: batches: "),
    ],
)
def test_what_the_environment_cannot_mean_is_refused_by_name(
    value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_BACKFILL", value)
    with pytest.raises(ConfigurationError, match=said):
        load_settings()
