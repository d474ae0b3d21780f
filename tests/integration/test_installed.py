"""An installed Refold takes one name, beside a project that has all the names of its source."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.source.files.importer import import_events
from refold.stack.process import ChildProcess
from refold.stack.workers.pool import COMMAND
from tests.support.databases import Database
from tests.support.installing import build, contents, environment, install, packages
from tests.support.processes import ROOT, worker_environment
from tests.support.runs import until

READ_MODEL = """
from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import Event, Projection, Row

units = Projection(
    "units",
    table=Table(
        "units",
        MetaData(),
        Column("sku", Text, primary_key=True),
        Column("units", Integer, nullable=False),
    ),
    key="data.sku",
)


@units.on("Moved")
def moved(row: Row | None, event: Event) -> Row:
    return {"units": event.data["units"] + (row["units"] if row else 0)}
"""
NOT_FOR_REFOLD = 'raise RuntimeError("the project\'s own: Refold has no business here")\n'
EVENTS = [
    {"stream_id": "tea", "type": "Moved", "data": {"sku": "tea", "units": 3}},
    {"stream_id": "tea", "type": "Moved", "data": {"sku": "tea", "units": -1}},
    {"stream_id": "jam", "type": "Moved", "data": {"sku": "jam", "units": 5}},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a wheel and an sdist of the source tree are."""
    directory = tmp_path_factory.mktemp("built")
    build(ROOT, directory, "wheel", "sdist")
    return directory


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel."""
    directory = tmp_path_factory.mktemp("environment")
    install(_only(built, "*.whl"), directory)
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, with packages of his own under the names that Refold's source has."""
    for name in ("workflows", "activities"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(NOT_FOR_REFOLD)
    (tmp_path / "worker.py").write_text(NOT_FOR_REFOLD)
    (tmp_path / "projections").mkdir()
    (tmp_path / "projections/__init__.py").touch()
    (tmp_path / "projections/units.py").write_text(READ_MODEL)
    (tmp_path / "events.ndjson").write_text("".join(f"{json.dumps(one)}\n" for one in EVENTS))
    return tmp_path


def _only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found


def refold(
    installed: Path, project: Path, variables: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / "bin/refold", *arguments],
        cwd=project,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_name_is_put_at_the_top(built: Path, installed: Path) -> None:
    tops = {name.split("/")[0] for name in contents(_only(built, "*.whl"))}
    dist_info = _only(packages(installed), "refold-*.dist-info").name
    assert tops == {"refold", dist_info}
    here = {path.name for path in packages(installed).iterdir()}
    assert here == {"refold", dist_info, "dependencies.pth"}


def test_a_wheel_has_all_of_the_code_also_by_way_of_an_sdist(built: Path, tmp_path: Path) -> None:
    with tarfile.open(_only(built, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    build(_only(tmp_path, "refold-*"), tmp_path, "wheel")
    found = contents(_only(built, "*.whl"))
    assert contents(_only(tmp_path, "*.whl")) == found
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "refold").rglob("*.py")}
    for name in ("workflows", "activities"):
        sources = (ROOT / name).rglob("*.py")
        wanted |= {f"refold/{path.relative_to(ROOT)}" for path in sources}
    assert {name for name in found if name.endswith(".py")} == wanted
    templates = (ROOT / "refold").rglob("*.template")
    wanted = {str(path.relative_to(ROOT)) for path in templates}
    assert {name for name in found if name.endswith(".template")} == wanted != set()


async def test_a_project_rebuilds_its_own_read_model(
    client: Client, database: Database, installed: Path, project: Path, tmp_path: Path
) -> None:
    programs = installed / "bin"
    variables = environment(programs, **_of_servers(client, database))
    log = tmp_path / "worker.log"
    # As the stack starts it, with this environment's Python.
    worker = ChildProcess(
        "worker",
        [programs / "python", *COMMAND[1:]],
        log=log,
        environment=variables,
        cwd=project,
    )
    try:

        async def works() -> bool:
            assert worker.running, log.read_text()
            return "projections: units" in log.read_text()

        await until(works)
        await import_events(database.engine, project / "events.ndjson")
        ended = await asyncio.to_thread(refold, installed, project, variables, "rebuild", "units")
        assert ended.returncode == 0, ended.stderr
    finally:
        worker.stop(30)
    async with database.engine.connect() as connection:
        rows = await connection.execute(text("SELECT sku, units FROM units ORDER BY sku"))
        assert [tuple(row) for row in rows] == [("jam", 5), ("tea", 2)]
    assert worker.exit_status == "exit code 0", log.read_text()


def _of_servers(client: Client, database: Database) -> dict[str, str]:
    wanted = ("REFOLD_", "TEMPORAL_")
    made = worker_environment(client, database)
    return {name: value for name, value in made.items() if name.startswith(wanted)}


def test_a_project_is_begun_and_folds_its_events(installed: Path, tmp_path: Path) -> None:
    variables = environment(installed / "bin")
    begun = refold(installed, tmp_path, variables, "init", "shop")
    assert begun.returncode == 0, begun.stderr
    read = ("fold", "stock-level", "--from", "events.ndjson", "--json")
    folded = refold(installed, tmp_path / "shop", variables, *read)
    assert folded.returncode == 0, folded.stderr
    assert json.loads(folded.stdout) == [{"sku": "tea", "units": 27}, {"sku": "jam", "units": 4}]


def test_the_demo_says_that_it_needs_the_samples(installed: Path, project: Path) -> None:
    variables = environment(installed / "bin")
    ended = refold(installed, project, variables, "demo")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "sample read models order-summary" in ended.stderr
    assert "(projections has others): run `make demo`" in ended.stderr
