"""The glossary and the architecture page against the code; the house's rules against themselves."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path

import pytest
import yaml

from refold.engine.folding.key_order import Batch
from refold.engine.folding.refolded_rows import Target
from refold.messages import Phase, RunStatus
from refold.messages.live import LiveStatus
from refold.messages.run.life import BeginRun, RefoldSegment
from refold.messages.run.plan import Plan
from refold.messages.run.selection import Selection
from refold.requests import BackfillRequest
from refold.store import generations
from refold.store.schema import metadata
from tests.unit.test_arrows import _WITHIN, LAYERS
from tests.unit.test_docs import exists

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()


def _rows(page: str, section: str) -> list[list[str]]:
    """The cells of the rows of a section's tables, without their headings."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^\| (.+) \|$", text, re.MULTILINE)
    rows = [row.split(" | ") for row in found]
    dividers = [at for at, row in enumerate(rows) if set(row[0]) == {"-"}]
    return [row for at, row in enumerate(rows) if at not in dividers and at + 1 not in dividers]


def _names(cell: str) -> list[str]:
    return re.findall(r"`(.+?)`", cell)


# -- the glossary ----------------------------------------------------------------------------


def _words() -> list[list[str]]:
    return re.findall(r"^\| ([\w ]+) \| (.+?) \| ?(.*?) ?\|$", _section("Words"), re.MULTILINE)[1:]


def _section(name: str) -> str:
    return GLOSSARY.split(f"## {name}\n")[1].split("\n## ")[0]


def test_every_word_is_there_once_and_in_order() -> None:
    words = [word for word, _, _ in _words()]
    assert [word for word, times in Counter(words).items() if times > 1] == []
    assert words == sorted(words, key=str.lower)
    assert len(words) > 50


def test_what_words_are_in_the_code_is_there() -> None:
    named = [name for _, _, code in _words() for name in _names(code)]
    assert [name for name in named if not exists(name)] == []


def test_every_table_has_its_word() -> None:
    named = {name for _, _, code in _words() for name in _names(code)}
    assert set(metadata.tables) <= named


@pytest.mark.parametrize(
    ("section", "known"),
    [
        ("Statuses of a run", RunStatus),
        ("Phases of a run", Phase),
        ("Statuses of a live projection", LiveStatus),
    ],
)
def test_statuses_are_those_of_the_code(section: str, known: type[StrEnum]) -> None:
    said = [name for row in _rows(GLOSSARY, section) for name in _names(row[0])]
    assert sorted(said) == sorted(known)


def test_the_statuses_of_a_generation_are_those_of_the_code() -> None:
    said = [name for row in _rows(GLOSSARY, "Statuses of a generation") for name in _names(row[0])]
    known = ("BUILDING", "ACTIVE", "RETAINED", "SNAPSHOT", "BASE", "DISCARDED")
    assert said == [getattr(generations, name) for name in known]


# -- the layers ------------------------------------------------------------------------------


def test_the_layers_are_those_that_are_held() -> None:
    tables = _rows(ARCHITECTURE, "The layers")
    said = [tuple(_names(row[1])) for row in tables if row[0].isdigit()]
    assert said == list(LAYERS)


def test_the_arrows_within_layers_are_those_that_are_held() -> None:
    tables = _rows(ARCHITECTURE, "The layers")
    said = {_names(row[0])[0]: set(_names(row[1])) for row in tables if not row[0].isdigit()}
    assert said == _WITHIN


def test_the_shapes_of_a_request_are_those_of_the_code() -> None:
    listed = ARCHITECTURE.split("a request has seven shapes:\n\n")[1].split("\n\n")[0]
    said = [_names(line)[0] for line in listed.splitlines()]
    shapes = (BackfillRequest, BeginRun, Selection, Plan, RefoldSegment, Target, Batch)
    assert said == [shape.__name__ for shape in shapes]


# -- the house -------------------------------------------------------------------------------


def test_before_a_commit_runs_what_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [hook["entry"] for hook in hooks] == commands
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert {(hook["language"], hook["pass_filenames"]) for hook in hooks} == {("system", False)}
