"""The documentation against the code: links, commands, names, examples."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from pydantic import BaseModel

from refold import BackfillPolicy, Event, Projection
from refold.messages.live import LiveRequest, LiveStatus
from refold.messages.run.life import Phase, Progress
from refold.messages.run.status import RunStatus
from refold.projection.reading.upcasting import UPCASTERS
from refold.requests.criteria import Criteria, CriteriaFields
from refold.requests.limits import Limits, Pacing, Throttle
from refold.requests.mirrors import MirrorRequest
from refold.requests.runs import BackfillRequest, RollbackRequest, SnapshotRequest
from refold.runtime.settings import Settings
from refold.store.schema import metadata
from refold.system_events.known import BUILT_IN
from refold.workflows.all import WORKFLOWS

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ITEM = re.compile(r"^- (.+)$", re.MULTILINE)
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_FIRST_CELL = re.compile(r"^\| (.+?) \|", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(r"`((?:[\w-]+/)+(?:[\w-]+\.\w+)?|\w+\.py)`")
_TELEMETRY = "".join(path.read_text() for path in (ROOT / "refold/runtime/telemetry").glob("*.py"))
_NAME = re.compile(r"`+(refold(?:\.\w+)+)`+")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=_name)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@every_page
def test_a_page_says_each_thing_once(page: Path) -> None:
    """No heading twice in a page; in a section no item of a list, no first cell of a table."""
    text = _without_code(page.read_text())
    _once(page, _HEADING.findall(text))
    for section in _HEADING.split(text):
        _once(page, _ITEM.findall(section))
        for table in _TABLE.findall(section):
            _once(page, _FIRST_CELL.findall(table))


def _once(page: Path, said: list[str]) -> None:
    twice = [one for one, times in Counter(said).items() if times > 1]
    assert not twice, f"{_name(page)}: {twice}"


# -- links -----------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_without_code(page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{_name(page)}: {link}"
        if anchor:
            headings = {_anchor(heading) for heading in _HEADING.findall(target.read_text())}
            assert anchor in headings, f"{_name(page)}: {link}"


def test_every_page_can_be_found_from_the_readme() -> None:
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        links = _LINK.findall(_without_code(page.read_text()))
        waiting += [
            (page.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link
        ]
    assert {_name(page) for page in PAGES} <= {_name(page) for page in found}


# -- files and modules -----------------------------------------------------------------------

_MADE_BY_READERS = {
    *("projections/stock_level.py", "tests/test_stock_level.py"),
    *("projections/order_lines.py", "tests/test_order_lines.py"),
    *("conftest.py", "wheels/", "env.py"),
}
# Python files say so, too: what they name of Refold is there.
_SOURCES = [
    path
    for place in ("refold", "activities", "workflows", "tests", "bench", "examples")
    for path in sorted((ROOT / place).rglob("*.py"))
]


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    named = set(_PATH.findall(_without_code(page.read_text()))) - _MADE_BY_READERS
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing, f"{_name(page)}: {missing}"


@every_page
def test_modules_tables_and_classes_that_are_named_exist(page: Path) -> None:
    missing = [name for name in _NAME.findall(page.read_text()) if not exists(name)]
    assert not missing, f"{_name(page)}: {missing}"


def test_what_docstrings_and_comments_name_exists() -> None:
    missing = [
        f"{_name(path)}: {name}"
        for path in _SOURCES
        for name in _NAME.findall(path.read_text())
        if not exists(name)
    ]
    assert not missing


def exists(name: str) -> bool:
    """Whether a dotted name is a table of Refold's, is in its telemetry, or can be imported."""
    if name in metadata.tables or f'"{name}"' in _TELEMETRY:
        return True
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


# -- commands --------------------------------------------------------------------------------


@every_page
def test_refold_commands_and_their_options_exist(page: Path) -> None:
    from typer.main import get_command

    from refold.cli.commands import Later
    from refold.cli.main import app

    root = get_command(app)
    for words in _refold_commands(page.read_text()):
        command: Any = root
        rest = list(words)
        while hasattr(command, "commands"):
            assert rest, f"{_name(page)}: refold {' '.join(words)}"
            assert rest[0] in command.commands, f"{_name(page)}: refold {' '.join(words)}"
            command = command.commands[rest.pop(0)]
            if isinstance(command, Later):
                command = command.loaded()
        known = {
            option
            for parameter in command.params
            for option in [*parameter.opts, *parameter.secondary_opts]
        }
        for word in rest:
            if word.startswith("--"):
                assert word in known, f"{_name(page)}: refold {' '.join(words)}"


def test_there_are_commands_to_check() -> None:
    commands = [words for page in PAGES for words in _refold_commands(page.read_text())]
    assert {words[0] for words in commands} >= {"rebuild", "backfill", "watch", "cancel", "status"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert target in targets, f"{_name(page)}: make {target}"


# -- names -----------------------------------------------------------------------------------


@every_page
def test_workflow_types_exist(page: Path) -> None:
    types = {workflow.__name__ for workflow in WORKFLOWS}
    text = page.read_text()
    named = re.findall(r"(?:--type |-wt |workflowType=)([A-Z]\w+)", text)
    assert set(named) <= types


@every_page
def test_queries_exist(page: Path) -> None:
    for query in re.findall(r"workflow query \S+ \S+ (?:--type|-qt) (\w+)", page.read_text()):
        assert query in {
            "progress",
            "status",
            "plan",
            "diff",
            "health",
            "checkpoint",
            "snapshots",
            "system_events",
        }


# The reference has fields and arguments of all kinds.
@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name != "api"], ids=_name)
def test_criteria_exist(page: Path) -> None:
    # All criteria look like this; so do few other words.
    words = re.findall(
        r"`(\w+_(?:rebuild|update|range|date|days|number|events))`", page.read_text()
    )
    known = {*Criteria, *Progress.model_fields, *BackfillRequest.model_fields}
    known |= {*BackfillPolicy.model_fields, *LiveStatus, "system_events"}
    assert set(words) <= known


@every_page
def test_json_inputs_are_accepted_requests(page: Path) -> None:
    for line in page.read_text().splitlines():
        for text in re.findall(r"""--input '(\{.*?\})'|^(\{"projection".*\})$""", line):
            _request_of(line).model_validate_json(text[0] or text[1])


def _request_of(line: str) -> type[BaseModel]:
    """What the input in this line is an input of."""
    signal = re.search(r"--name (\w+Requested)", line)
    if signal:
        return BUILT_IN[signal[1]]
    if "--name set_limits" in line:
        return Limits
    if "--type Mirror" in line:
        return MirrorRequest
    return LiveRequest if "--type Projection" in line else BackfillRequest


@every_page
def test_settings_exist(page: Path) -> None:
    known = {f"REFOLD_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bREFOLD_[A-Z_]+", page.read_text())) <= known


def test_all_of_the_public_names_are_explained() -> None:
    request = (ROOT / "docs/run-a-rebuild.md").read_text()
    progress = (ROOT / "docs/understanding-progress.md").read_text()
    deploy = (ROOT / "docs/deploy.md").read_text()
    requests = (BackfillRequest, RollbackRequest, SnapshotRequest)
    fields = [name for request in requests for name in request.model_fields]
    for event in BUILT_IN:
        assert f"`{event}`" in (ROOT / "docs/system-events.md").read_text()
    for name in [*fields, *(w.__name__ for w in WORKFLOWS)]:
        assert f"`{name}`" in request
    criteria = (ROOT / "docs/criteria.md").read_text()
    for name in [*Criteria, *CriteriaFields.model_fields]:
        assert f"`{name}`" in criteria
    controls = (ROOT / "docs/controls.md").read_text()
    for name in [*Pacing.model_fields, *Limits.model_fields]:
        assert f"`{name}`" in controls
    for name in Throttle.model_fields:
        assert name in controls
    for name in [*Progress.model_fields, *Phase, *RunStatus]:
        assert f"`{name}`" in progress
    for name in Settings.model_fields:
        assert f"`REFOLD_{name.upper()}`" in deploy


# -- examples --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def without_their_upcasters() -> Iterator[None]:
    with UPCASTERS.set_apart():
        yield


@every_page
def test_python_examples_run(page: Path) -> None:
    _run_examples(page)


def test_the_readme_projection_folds() -> None:
    (projection,) = _projections(_run_examples(ROOT / "README.md"))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        Event(1, "order-1", 1, "OrderPlaced", {}, {}, at),
        Event(2, "order-1", 2, "ItemAdded", {"sku": "tea", "quantity": 3}, {}, at),
        Event(3, "order-1", 3, "ItemReturned", {"sku": "tea", "quantity": 1}, {}, at),
        Event(4, "order-1", 4, "ItemAdded", {"sku": "jam", "quantity": 1}, {}, at),
    ]
    assert projection.name == "stock-level"
    assert projection.fold(events) == {
        "tea": {"sku": "tea", "units": -2},
        "jam": {"sku": "jam", "units": -1},
    }


# -- reading pages ---------------------------------------------------------------------------


def _blocks(text: str, language: str) -> list[str]:
    return [code for tag, code in _FENCE.findall(text) if tag == language]


def _without_code(text: str) -> str:
    return _FENCE.sub("", text)


def _anchor(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.lower())
    return words.strip().replace(" ", "-")


def _refold_commands(text: str) -> Iterator[list[str]]:
    """The words after `refold` in each shell block and in each piece of inline code."""
    lines = [line for block in _blocks(text, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(refold [^`]+)`", _without_code(text))
    for line in lines:
        found = re.search(r"(?:^|\| |exec worker )refold (.+)$", line)
        if found:
            yield [word for word in shlex.split(found[1], comments=True) if word not in "…\\"]


def _run_examples(page: Path) -> dict[str, Any]:
    """Runs a page's Python, one block after another in one namespace."""
    namespace: dict[str, Any] = {}
    for number, code in enumerate(_blocks(page.read_text(), "python"), start=1):
        place = f"{_name(page)}, example {number}"
        # As it is written: without the future that this file imports.
        exec(compile(code, place, "exec", dont_inherit=True), namespace)
    return namespace


def _projections(namespace: dict[str, Any]) -> list[Projection]:
    return [value for value in namespace.values() if isinstance(value, Projection)]
