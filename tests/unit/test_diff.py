"""A diff: its numbers, its size, and how it reads."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from refold.cli.runs import diff as cli
from refold.messages.run.diff import ColumnDiff, Diff, WrongRow, as_markdown, headline, oracle_text
from refold.messages.run.diff_values import (
    plain,
    short_row,
    short_rows,
    shortened,
    shortened_apart,
    some_names,
    text_of,
    within,
)
from refold.messages.run.preview import DiffSample


def make(**fields: Any) -> Diff:
    numbers: dict[str, Any] = {
        "rows_live": 1000,
        "rows_shadow": 1000,
        "added": 0,
        "removed": 0,
        "changed": 0,
        "unchanged": 1000,
        "folded_again": 50,
        "folded_wrong": 0,
    }
    lists: dict[str, Any] = {
        name: []
        for name in (
            "columns",
            "columns_added",
            "columns_dropped",
            "columns_retyped",
            "samples",
            "wrong",
        )
    }
    return Diff(
        projection="order-summary",
        live_generation=1,
        shadow_generation=2,
        position=1234,
        compared_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        **{**numbers, **lists, **fields},
    )


def full() -> Diff:
    return make(
        rows_shadow=1001,
        added=2,
        removed=1,
        changed=3,
        unchanged=996,
        columns=[ColumnDiff(column="total", rows=3)],
        columns_added=["note"],
        columns_dropped=["old"],
        columns_retyped=["items: integer → bigint"],
        samples=[
            DiffSample(
                kind="changed",
                key={"order_id": "a|b"},
                live={"total": "1.00"},
                shadow={"total": "2.00"},
            ),
            DiffSample(
                kind="added",
                key={"order_id": "[red]x"},
                live=None,
                shadow={"total": None, "done": True, "items": 3},
            ),
            DiffSample(
                kind="removed",
                key={"order_id": "line\nbreak"},
                live={"total": "\x1b[2J"},
                shadow=None,
            ),
        ],
        folded_wrong=2,
        wrong=[
            WrongRow(key={"order_id": "w"}, expected={"total": "5"}, found={"total": "6"}),
            WrongRow(key={"order_id": "m"}, expected={"total": "5"}, found=None),
        ],
        note="A note.",
    )


@pytest.mark.parametrize(
    ("fields", "percent"),
    [
        ({}, 0.0),
        ({"changed": 5}, 0.5),
        ({"added": 5, "removed": 5, "changed": 10}, 2.0),
        ({"added": 3000}, 300.0),
        ({"rows_live": 0, "added": 7}, 100.0),
        ({"rows_live": 0, "rows_shadow": 0}, 0.0),
        ({"rows_live": 0, "rows_shadow": 0, "changed": 0}, 0.0),
    ],
)
def test_the_percentage_is_of_the_live_rows(fields: dict[str, int], percent: float) -> None:
    assert make(**fields).changed_percent == percent


def test_a_diff_is_the_same_without_rows_and_columns_that_differ() -> None:
    assert make().is_same
    for different in (
        {"added": 1},
        {"removed": 1},
        {"changed": 1},
        {"columns_added": ["a"]},
        {"columns_dropped": ["a"]},
        {"columns_retyped": ["a: integer → text"]},
    ):
        assert not make(**different).is_same


def test_json_has_the_computed_fields_and_comes_back() -> None:
    diff = full()
    dumped = diff.model_dump(mode="json")
    assert dumped["changed_percent"] == pytest.approx(0.6)
    assert dumped["is_same"] is False
    assert Diff.model_validate(dumped) == diff
    assert Diff.model_validate_json(diff.model_dump_json()) == diff


def test_the_headline_gives_the_numbers() -> None:
    assert headline(make()) == "no row differs, of 1,000"
    assert headline(full()) == (
        "2 added, 1 removed, 3 changed, 996 unchanged (0.6 % of the live rows)"
    )
    assert "< 0.1 %" in headline(make(rows_live=10_000_000, changed=1))


def test_the_oracle_speaks_up_when_rows_are_wrong() -> None:
    assert oracle_text(make(folded_again=1)) == "1 key folded again, all as in the new table"
    assert "2 WRONG" in oracle_text(full())
    assert oracle_text(make(folded_again=0)) == "no key folded again"


# -- in markdown -----------------------------------------------------------------------------


def test_markdown_shows_everything() -> None:
    text = as_markdown(full())
    for part in (
        "generation 2 against generation 1, at position 1,234",
        "| total",
        "old",
        "items: integer → bigint",
        "no row",
        "A note.",
        "2 WRONG",
    ):
        assert part in text


def test_values_do_not_become_markup() -> None:
    lines = as_markdown(full()).splitlines()
    (changed,) = [line for line in lines if line.startswith("| changed")]
    assert r"a\|b" in changed
    (added,) = [
        line for line in lines if line.startswith("| added\N{NO-BREAK SPACE}") and "x" in line
    ]
    assert r"\[red\]x" in added
    (removed,) = [line for line in lines if line.startswith("| removed") and "order" in line]
    assert r"line\\nbreak" in removed
    assert "\x1b" not in removed


# -- in a terminal ---------------------------------------------------------------------------


def shown(monkeypatch: pytest.MonkeyPatch, diff: Diff) -> str:
    file = StringIO()
    monkeypatch.setattr(cli, "console", Console(file=file, width=80, highlight=False))
    cli.show_diff(diff)
    return file.getvalue()


def test_a_terminal_of_80_columns_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, full())
    assert max(map(len, text.splitlines())) <= 80
    for part in ("[red]x", r"line\nbreak", r"\x1b[2J", "1.00", "2.00", "NULL", "true", "A note."):
        assert part in text
    assert "\x1b" not in text


def test_long_values_are_folded_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = "a" * 90 + "END", "b" * 90 + "END"
    sample = DiffSample(kind="changed", key={"k": 1}, live={"c": one}, shadow={"c": other})
    text = shown(monkeypatch, make(changed=1, samples=[sample]))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("a") >= 90
    assert text.count("b") >= 90


# -- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**60, str(2**60)),
        (1.5, "1.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02 03:00:00+00:00"),
        (b"\x01\xff", "\\x01ff"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
    ],
)
def test_values_are_fit_for_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_long_text_is_cut_visibly() -> None:
    assert shortened("x" * 100) == "x" * 100
    assert shortened("x" * 101) == "x" * 100 + "…"
    assert shortened("€" * 100) == "€" * 33 + "…"
    assert shortened(None) is None


def test_long_texts_are_cut_to_where_they_differ() -> None:
    one, other = "x" * 500 + "A" + "y" * 500, "x" * 500 + "B" + "y" * 500
    live, shadow = shortened_apart(one, other)
    assert live == "…" + "x" * 20 + "A" + "y" * 79 + "…"
    assert shadow == "…" + "x" * 20 + "B" + "y" * 79 + "…"
    assert shortened_apart("x" * 200, None) == ("x" * 100 + "…", None)


def test_of_many_columns_some_are_shown() -> None:
    row = {f"c{n}": n for n in range(1600)}
    short = short_row(row)
    assert short is not None
    assert list(short) == [*[f"c{n}" for n in range(10)], "…"]
    assert short["…"] == "and 1590 more columns"
    assert short_rows(row, row) == (short, short)
    assert some_names([str(n) for n in range(32)])[-1] == "… and 2 more"


def test_samples_stay_within_their_size() -> None:
    kept = within([ColumnDiff(column="c" * 50, rows=n) for n in range(100)], 1000)
    assert 0 < sum(len(one.model_dump_json()) for one in kept) <= 1000


def test_text_is_one_line_that_does_nothing() -> None:
    assert text_of("a\nb\t\x1b[1m\u202ex") == r"a\nb\t\x1b[1m\u202ex"
    assert [text_of(value) for value in (None, True, False, 3)] == ["NULL", "true", "false", "3"]
