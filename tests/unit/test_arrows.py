"""The arrows between packages run one way; who imports whom is the design."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_PURE = [
    "approval",
    "checkpoints",
    "code_location",
    "columns",
    "criteria",
    "database_url",
    "dead_letters",
    "delivering",
    "diff",
    "diff_values",
    "ending",
    "errors",
    "event",
    "exact_json",
    "exact_times",
    "fairness",
    "fold",
    "key",
    "limits",
    "live",
    "live_text",
    "markdown",
    "message",
    "messages",
    "plan",
    "poison",
    "preview",
    "policy",
    "predicates",
    "progress",
    "projection",
    "recorded_event",
    "registry",
    "requests",
    "schedules",
    "schemas",
    "settings",
    "snapshot_policy",
    "short_failure",
    "snapshots",
    "step_failure",
    "step_wait",
    "system_events",
    "system_handlers",
    "undecodable",
    "threads",
    "words",
]
_PACKAGES = ("columns", "errors", "predicates")
_PURE_MODULES = [f"refold.{name}" for name in _PURE]
_KERNEL = [
    *_PURE_MODULES,
    "refold.runtime.database",
    "refold.runtime.driver",
    "refold.runtime.judgement",
    "refold.runtime.sessions",
    "refold.runtime.telemetry",
]

# What a place may import of the project's own: modules, or packages with all that is in them.
ALLOWED: dict[str, list[str]] = {
    **{f"refold/{name}.py": _PURE_MODULES for name in _PURE if name not in _PACKAGES},
    "refold/columns": [
        "refold.projection.columns",
        "refold.errors",
        "refold.projection.columns.exact_json",
    ],
    "refold/errors": ["refold.errors", "refold.event", "refold.errors.words"],
    "refold/predicates": [
        "refold.errors",
        "refold.event",
        "refold.predicates",
        "refold.errors.words",
    ],
    "refold/store": [*_KERNEL, "refold.store"],
    "refold/source": [*_KERNEL, "refold.store.schema", "refold.source"],
    "refold/stack": ["refold.stack"],
    "refold/demo": [*_KERNEL, "refold.source", "refold.demo"],
    "activities": [
        *_KERNEL,
        "refold.store",
        "refold.source",
        "refold.manager.publication",
        "activities",
    ],
    "workflows": [*_PURE_MODULES, "activities", "workflows"],
    "projections": ["refold"],
    "refold/manager/health.py": [*_KERNEL, "refold.store", "refold.source"],
    "refold/manager/publication.py": [*_KERNEL, "refold.store.system_events"],
    "refold/manager/live.py": [
        *_KERNEL,
        "refold.store.deployments",
        "refold.store.generations",
        "refold.store.system_events",
        "refold.manager.health",
        "refold.manager.publication",
    ],
    "refold/manager/runs.py": [*_KERNEL, "refold.manager.live"],
    "refold/manager/snapshots.py": [
        *_KERNEL,
        "refold.store.generations",
        "refold.store.snapshots",
        "refold.manager.runs",
    ],
    "refold/manager/schedules.py": [*_KERNEL, "refold.manager.snapshots"],
    "refold/manager/dead_letters.py": [
        *_KERNEL,
        "refold.store.dead_letters",
        "refold.store.generations",
        "refold.manager.runs",
    ],
    "refold/manager/projections.py": [
        *_KERNEL,
        "refold.manager.dead_letters",
        "refold.store.leases",
        "refold.store.runs",
        "refold.manager.runs",
        "refold.manager.schedules",
    ],
    "refold/runtime/database.py": [
        *_PURE_MODULES,
        "refold.runtime.driver",
        "refold.runtime.sessions",
    ],
    "refold/runtime/judgement.py": [*_PURE_MODULES, "refold.runtime.database"],
    "refold/runtime/driver.py": [],
    "refold/runtime/sessions.py": [*_PURE_MODULES, "refold.runtime.driver"],
    "refold/runtime/telemetry.py": _PURE_MODULES,
    "refold/runtime/allocator.py": [],
    "refold/runtime/garbage.py": ["refold.runtime.allocator"],
    "refold/runtime/payloads.py": [*_KERNEL],
    "refold/runtime/temporal.py": [*_KERNEL],
    "refold/runtime/command.py": [*_KERNEL],
    "refold/cli": ["refold", "worker"],
    "worker.py": ["refold", "activities", "workflows"],
    "examples": ["refold"],
}

_OWN = ("refold", "activities", "workflows", "projections", "worker", "bench", "tests", "examples")


def _files(place: str) -> list[Path]:
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _imports(path: Path) -> set[str]:
    """The project's own modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}"
                if (ROOT / node.module.replace(".", "/") / f"{alias.name}.py").exists()
                else node.module
                for alias in node.names
            }
    return {name for name in found if name.split(".")[0] in _OWN}


@pytest.mark.parametrize("place", ALLOWED)
def test_a_place_imports_only_what_it_may(place: str) -> None:
    allowed = ALLOWED[place]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _files(place)
        for name in sorted(_imports(path))
        if not any(name == one or name.startswith(f"{one}.") for one in allowed)
    ]
    assert wrong == []


def test_every_module_has_its_place() -> None:
    placed = {path for place in ALLOWED for path in _files(place)}
    unplaced = set((ROOT / "refold").rglob("*.py")) - placed - {ROOT / "refold/__init__.py"}
    assert unplaced == set()


def test_no_file_is_too_large_to_find_ones_way() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for place in ALLOWED
        for path in _files(place)
        if (lines := len(path.read_text().splitlines())) > 400
    ]
    assert long == []
