"""The bench's figures: medians, ratios, aims; and the page that is made of them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.all.parts import parts
from bench.all.report import LARGE, Report
from bench.measuring.figures import Figure, Part, against, lines
from bench.page.__main__ import NothingMeasured, take, written

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/performance.md").read_text()


def _figure(name: str, *seconds: float, events: int = 100) -> Figure:
    return Figure(name=name, says=name, values=list(seconds), events=events)


def test_a_ratio_of_speed_is_of_medians_for_as_many_events() -> None:
    limit = _figure("limit", 1.0, 2.0, 9.0)
    twice = against(_figure("ours", 2.0, 4.0, 6.0, events=400), limit, at_least=2.0)
    assert twice.ratio is not None
    assert (twice.ratio.of_medians, twice.ratio.values) == (2.0, [2.0, 2.0, 6.0])
    assert twice.is_met is True
    assert against(twice, limit, at_least=2.1).is_met is False
    assert limit.is_met is None


def test_a_ratio_of_time_says_how_much_longer() -> None:
    slower = against(_figure("run", 1.1), _figure("script", 1.0), speed=False, at_most=1.05)
    assert slower.ratio is not None
    assert slower.ratio.of_medians == pytest.approx(1.1)
    assert slower.is_met is False


def test_a_missed_aim_is_told() -> None:
    peak = Figure(name="peak", says="memory", unit="MiB", values=[310.0, 290.0, 320.0], at_most=300)
    (said, _) = lines(Part(name="p", events=1, figures=[peak], differing_rows=0))
    assert "310 MiB" in said
    assert said.endswith("MISSED")


def test_every_bench_of_all_of_them_can_be_run() -> None:
    for events in (1_000_000, LARGE):
        for module in parts(events, 5):
            assert find_spec(module), module
    assert "bench.simulation" not in parts(LARGE, 5)


def test_results_that_are_not_right_are_refused(tmp_path: Path) -> None:
    wrong = Report.begun(100, 1)
    wrong.parts.append(Part(name="sql", events=100, figures=[], differing_rows=3))
    wrong.write(tmp_path)
    with pytest.raises(NothingMeasured, match="got 3 rows"):
        take(tmp_path, tmp_path / "measured")
    few = Report.begun(100, 1)
    few.write(tmp_path)
    with pytest.raises(NothingMeasured, match="got 0 of 100"):
        take(tmp_path, tmp_path / "measured")
    assert not (tmp_path / "measured").exists()


def test_older_results_do_not_take_the_place_of_newer_ones(tmp_path: Path) -> None:
    older, newer = Report.begun(1, 1), Report.begun(2, 1)
    older.write(tmp_path)
    newer.write(tmp_path / "measured")
    take(tmp_path, tmp_path / "measured", anyway=True)
    assert Report.read(tmp_path / "measured/main.json") == newer
    newer.write(tmp_path)
    older.write(tmp_path / "measured")
    take(tmp_path, tmp_path / "measured", anyway=True)
    assert Report.read(tmp_path / "measured/main.json") == newer


def test_the_page_and_its_picture_are_what_was_measured() -> None:
    text, picture = written(PAGE, ROOT / "docs/measured")
    assert text == PAGE, "run `make page`"
    assert picture == (ROOT / "docs/pictures/performance.svg").read_text(), "run `make page`"


def test_the_picture_fetches_and_executes_nothing() -> None:
    picture = (ROOT / "docs/pictures/performance.svg").read_text()
    assert "<script" not in picture
    assert set(re.findall(r"\w+://[^\"' ]+", picture)) == {"http://www.w3.org/2000/svg"}


def test_commands_that_the_page_names_exist() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", PAGE))
    assert modules
    for module in modules:
        assert find_spec(module), module
    options: dict[str, set[str]] = {}
    for module, option in re.findall(r"python -m ([\w.]+) (--[\w-]+)", PAGE):
        options.setdefault(module, set()).add(option)
    for module, named in options.items():
        said = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, check=True
        )
        for option in named:
            assert option in said.stdout.decode()


def test_a_large_run_stands_beside_the_other_with_what_is_kept_of_the_rate(tmp_path: Path) -> None:
    one = Figure(name="rebuild-one", says="Rebuild", values=[10.0, 12.0, 11.0], events=1_000_000)
    ten = one.model_copy(update={"values": [110.0, 120.0, 130.0], "events": 10_000_000})
    main, large = Report.begun(1_000_000, 3), Report.begun(10_000_000, 3)
    main.parts.append(Part(name="rebuild", events=1, figures=[one], differing_rows=0))
    large.parts.append(Part(name="rebuild", events=1, figures=[ten], differing_rows=0))
    for report in (main, large):
        report.write(tmp_path)
    text, _ = written("<!-- figures: scale -->\nold\n<!-- end of figures -->", tmp_path)
    row = "| `Rebuild` in Python, one worker process | 11.0 s | 2.0 min, 0.92 of the rate | 3.3 h |"
    assert row in text
    assert "old" not in text
