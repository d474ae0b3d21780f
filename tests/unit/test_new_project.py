"""`refold init` and `refold new projection`: what they write works, and nothing is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from refold.cli.main import app
from refold.cli.project.names import new_projection
from refold.errors import InvalidRequest
from refold.runtime.settings import Settings
from tests.support.processes import clean_environment

FAILED = 1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own, whose modules are found before Refold's samples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    mine = {name: sys.modules.pop(name) for name in _projections()}
    yield tmp_path
    for name in _projections():
        del sys.modules[name]
    sys.modules.update(mine)


def _projections() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "projections"]


def refold(*arguments: str, status: int = 0) -> str:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == status, ended.output
    return ended.output


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def in_it(project: Path, *command: str) -> str:
    """Runs a command in a process of its own, in the project, with no server in sight."""
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_new_project_tests_itself_and_lists_its_projections(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refold("init", "shop")
    project = here / "shop"
    monkeypatch.chdir(project)
    new = ("new", "projection", "order-lines", "--key", "data.order.no,data.SKU", "--on")
    # What it writes is not loaded here: the check of the name must not import the project.
    in_it(project, "refold.cli.main", *new, 'Sh"ipped', "--on", "Returned")
    passed = in_it(
        project, "pytest", "-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider"
    )
    assert "4 passed" in passed
    listed = json.loads(in_it(project, "refold.cli.main", "projections", "--json"))
    assert {one["projection"]: one["event_types"] for one in listed} == {
        "order-lines": ["Returned", 'Sh"ipped'],
        "stock-level": ["ArticleDiscontinued", "ItemReceived", "ItemShipped"],
    }


def test_nothing_is_overwritten(here: Path) -> None:
    (here / "tests").mkdir()
    (here / "tests/test_stock_level.py").write_text("mine")
    (here / "Dockerfile").symlink_to("nowhere")
    before = tree(here)
    said = refold("init", status=FAILED)
    assert "got Dockerfile, tests/test_stock_level.py: nothing was written" in said
    assert tree(here) == before
    assert (here / "Dockerfile").is_symlink()


def test_what_cannot_be_written_leaves_nothing_behind(here: Path) -> None:
    (here / "tests").write_text("a file where a folder is to be")
    assert "got: " in refold("init", status=FAILED)
    assert set(tree(here)) == {"tests"}
    assert "expected a directory" in refold("init", "tests", status=FAILED)


def test_a_new_projection_is_not_written_over_another(here: Path) -> None:
    count = ("new", "projection", "stock-level", "--key", "stream_id", "--on", "A")
    assert "expected a folder projections here" in refold(*count, status=FAILED)
    refold("init")
    before = tree(here)
    assert "got projections/stock_level.py, tests/test" in refold(*count, status=FAILED)
    (here / "projections/stock_level.py").rename(here / "projections/stock.py")
    (here / "tests/test_stock_level.py").unlink()
    assert "got one that is registered" in refold(*count, status=FAILED)
    assert len(tree(here)) == len(before) - 1


@pytest.mark.parametrize(
    ("name", "key", "types", "expected"),
    [
        ("Stock", "stream_id", "A", "name: expected"),
        ("../up", "stream_id", "A", "name: expected"),
        ("class", "stream_id", "A", "expected one that can be a variable"),
        ("stock", "type", "A", "expected stream_id, data"),
        ("stock", "lower(data.a)", "A", "written into the file"),
        ("stock", "data.a,data.a.b", "A", "apart from each other"),
        ("stock", "data.a,data.a", "A", "apart from each other"),
        ("stock", "data.a-b,data.a_b", "A", "a column of its own"),
        ("stock", "data.a", " ", "expected the name of an event type"),
        ("stock", "data.a", "A\nB", "expected the name of an event type"),
        ("stock", "data.a", "A,A", "expected each type once"),
    ],
)
def test_what_makes_no_projection_is_refused(
    name: str, key: str, types: str, expected: str
) -> None:
    with pytest.raises(InvalidRequest, match=expected):
        new_projection(name, [key], [types]).check()


@pytest.mark.parametrize(
    ("key", "columns"),
    [
        ("stream_id", ("stream_id",)),
        ("data.orderId,metadata.user-name", ("order_id", "user_name")),
        ("data.order.id,data.article.id", ("data_order_id", "data_article_id")),
        ("data.events", ("data_events",)),
        ("data.lines.0", ("key_0",)),
    ],
)
def test_columns_are_named_for_the_paths(key: str, columns: tuple[str, ...]) -> None:
    made = new_projection("stock", [key], ["A"])
    assert made.columns == columns == made.check().key_columns


def test_the_files_beside_are_what_their_readers_expect(here: Path) -> None:
    refold("init", "Refold")
    project = tomllib.loads((here / "Refold/pyproject.toml").read_text())["project"]
    # Named as its dependency, it would need itself.
    assert project["name"] == "read-models"
    assert project["dependencies"] == [f"refold=={version('refold')}"]
    services = yaml.safe_load((here / "Refold/docker-compose.yml").read_text())["services"]
    known = {f"REFOLD_{name.upper()}" for name in Settings.model_fields} | {"TEMPORAL_ADDRESS"}
    assert set(services["worker"]["environment"]) <= known
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    steps = yaml.safe_load((here / "Refold/.github/workflows/test.yml").read_text())["jobs"]["test"]
    assert [step["run"] for step in steps["steps"] if "run" in step][-1] == "python -m pytest"
    assert "@@" not in "".join(text.decode() for text in tree(here).values())
