"""The arrows between packages run one way; who imports whom is the design: docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = (
    ("event", "errors"),
    ("predicates", "requests", "messages", "system_events", "projection"),
    ("runtime",),
    ("store", "source"),
    ("engine",),
    ("activities",),
    ("workflows", "manager"),
    ("worker", "cli", "testing"),
)
"""The packages of `refold`, from the ground up: each imports from layers below, and its own."""

_WITHIN = {
    "errors": {"event"},
    "requests": {"predicates"},
    "messages": {"requests"},
    "system_events": {"requests", "messages"},
    "projection": {"predicates", "requests", "messages", "system_events"},
    "source": {"store"},
    "cli": {"worker"},
}
"""Arrows within a layer."""

_MESSAGES_ONLY = {"event", "errors", "predicates", "requests", "messages", "system_events"}
_NARROWER = {
    # Deterministic: what things are, and references to activities.
    "workflows": {*_MESSAGES_ONLY, "projection", "activities"},
    # Reached through Temporal and the database, as anybody is.
    "manager": {*_MESSAGES_ONLY, "projection", "runtime", "store", "source"},
    "source": {"event", "errors", *LAYERS[1], "runtime", "store"},
    # What people's tests need: folding, and servers with Refold's schema.
    "testing": {"event", "errors", "messages", "projection", "runtime", "store"},
    # It starts servers for anybody, and knows nothing of Refold.
    "stack": set(),
}
"""Packages that may import less than all that is below."""

_ALONE = ("stack",)
_WITH_STACK = ("cli", "testing")
# One more than a folder of files may have: `refold.testing` is imported by people, by this name.
_MOST_ENTRIES = 17
_MOST_FILES = 16
_MOST_LINES = 350
_WITHOUT_ACTIVITY = {"__init__.py", "heartbeat.py", "failures.py"}


def _may_import(package: str) -> set[str]:
    if package in _NARROWER:
        return _NARROWER[package] | _WITHIN.get(package, set())
    below: set[str] = set()
    for layer in LAYERS:
        if package in layer:
            return below | _WITHIN.get(package, set())
        below |= set(layer)
    raise AssertionError(f"{package} has no layer")


def _package(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "refold" else parts[0]


def _files() -> list[Path]:
    found = [ROOT / "worker.py"]
    for place in ("refold", "activities", "workflows"):
        found += sorted((ROOT / place).rglob("*.py"))
    return [path for path in found if path != ROOT / "refold/__init__.py"]


def _imports(path: Path) -> set[str]:
    """The packages of `refold` that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "refold":
                modules = [f"refold.{alias.name}" for alias in node.names]
        for module in modules:
            first, _, rest = module.partition(".")
            # By one name everywhere: as it is installed.
            assert first not in ("activities", "workflows", "worker"), f"{path}: {module}"
            if first == "refold":
                found.add(rest.split(".")[0])
    return found


@pytest.mark.parametrize("package", [*(p for layer in LAYERS for p in layer), *_ALONE])
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    allowed = _may_import(package) | {package} | ({"stack"} if package in _WITH_STACK else set())
    wrong = [
        f"{path.relative_to(ROOT)} imports refold.{name}"
        for path in _files()
        if _package(path) == package
        for name in sorted(_imports(path) - allowed)
    ]
    assert wrong == []


def test_the_layers_have_no_circle_within() -> None:
    for package, others in _WITHIN.items():
        for other in others:
            assert package not in _WITHIN.get(other, set())


def test_every_package_has_its_layer_and_no_file_stands_loose() -> None:
    entries = {
        path.name
        for path in (ROOT / "refold").iterdir()
        # Git leaves the folders of rooms that have moved, with what Python compiled in them.
        if not path.is_symlink() and (path.is_file() or any(path.glob("**/*.py")))
    }
    modules = {name for name in entries if name.endswith(".py")}
    assert modules == {"__init__.py", "event.py"}
    placed = {p for layer in LAYERS for p in layer} | set(_ALONE)
    packages = entries - modules - {"py.typed"}
    assert packages == placed - {"event", "activities", "workflows"}
    assert len(modules | packages) <= _MOST_ENTRIES


def test_activities_hold_activities() -> None:
    files = {path.name for path in (ROOT / "activities").rglob("*.py")}
    without = {
        path.name
        for path in (ROOT / "activities").rglob("*.py")
        if "@activity.defn" not in path.read_text()
    }
    assert without == _WITHOUT_ACTIVITY & files


def test_the_engine_is_free_of_temporal() -> None:
    wrong = [
        path.name
        for path in (ROOT / "refold/engine").rglob("*.py")
        if "temporalio" in path.read_text()
    ]
    assert wrong == []


def test_rooms_are_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in [*_files(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
        if (lines := len(path.read_text().splitlines())) > _MOST_LINES
    ]
    # Migrations only become more: a released one is never edited.
    folders = {path.parent for path in _files() if path.parent.name != "versions"}
    crowded = [
        f"{folder.relative_to(ROOT)}: {count} files"
        for folder in sorted(folders)
        if (count := len(list(folder.glob("*.py")))) > _MOST_FILES
    ]
    assert (long, crowded) == ([], [])
