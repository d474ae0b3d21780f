"""Every public name says what it means; every method of the manager is tested on real servers."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.errors import RefoldError
from refold.errors.codes import CODES, UNLISTED
from refold.manager.projections import ProjectionManager
from tools.api_pages import PAGES
from tools.api_reference import Reference, examples, needed_examples

ROOT = Path(__file__).parents[2]
INTEGRATION = Path(__file__).parents[1] / "integration"
PUBLIC = (Path(__file__).parents[2] / "docs/public-api.md").read_text()

# The command line's functions are explained by their help, which a test of theirs reads.
_MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(refold.__path__, "refold.")
    if ".migrations" not in module.name
)


def _public(owner: Any, module: str) -> Iterator[tuple[str, Any]]:
    for name, value in vars(owner).items():
        own = getattr(value, "__module__", None) == module
        if own and not name.startswith("_") and (inspect.isclass(value) or callable(value)):
            yield name, value


def test_every_public_name_has_a_docstring() -> None:
    for name in _MODULES:
        module = importlib.import_module(name)
        assert module.__doc__, name
        for public, value in _public(module, name):
            if isinstance(value, type):
                assert value.__doc__, f"{name}.{public}"
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        assert inspect.getdoc(getattr(value, method)), f"{name}.{public}.{method}"
            elif inspect.isfunction(value):
                assert value.__doc__, f"{name}.{public}"


def test_the_page_of_what_is_public_has_all_public_modules() -> None:
    modules = (
        *("errors", "manager", "messages", "predicates", "requests", "system_events"),
        *("source.mirrors", "source.stores"),
        *("testing", "testing.stack"),
    )
    assert set(_public_sections()) == {"refold", *(f"refold.{name}" for name in modules)}


@pytest.mark.parametrize("name", re.findall(r"^## `(.+)`$", PUBLIC, re.MULTILINE))
def test_what_is_said_to_be_public_is_what_a_module_exports(name: str) -> None:
    said = _public_sections()[name]
    assert sorted(said) == sorted(importlib.import_module(name).__all__)


def _public_sections() -> dict[str, list[str]]:
    """The names in the first column of each module's table."""
    parts = re.split(r"^## `(.+)`$", PUBLIC, flags=re.MULTILINE)[1:]
    return {
        name: [
            public
            for cell in re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
            for public in re.findall(r"`(\w+)`", cell)
        ]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _methods() -> list[str]:
    return sorted(
        name
        for name, value in inspect.getmembers(ProjectionManager, inspect.isfunction)
        if not name.startswith("_")
    )


def test_the_manager_is_whole() -> None:
    wanted = {
        *("start", "stop", "restart", "backfill", "get_backfill_progress", "cancel_backfill"),
        *("rebuild", "rollback_projection", "create_snapshot", "restore_from_snapshot"),
        *("get_snapshots", "get_current_checkpoint", "reset_checkpoint", "get_status"),
        *("get_all_projections", "get_health", "publish"),
    }
    assert wanted <= set(_methods())


@pytest.mark.parametrize("method", _methods())
def test_every_method_of_the_manager_is_tried(method: str) -> None:
    tests = [path.read_text() for path in INTEGRATION.glob("*.py")]
    assert any(f".{method}(" in text for text in tests), method


def _error_types() -> set[str]:
    """All errors that Refold raises on purpose, wherever they are defined."""
    for name in _MODULES:
        importlib.import_module(name)
    found: set[str] = set()
    waiting: list[type[RefoldError]] = [RefoldError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__.startswith("refold."):
                found.add(kind.__name__)
                waiting.append(kind)
    return found


# A run's failure has the code of what it failed at; the stack's errors have none.
WITHOUT_CODE = {"RunFailed", "AlreadyRunning"}


def test_each_error_has_a_code_of_its_own_with_cause_and_cure() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"^\| `(RF\d{3})` \| `?([\w ]+)`? \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert {kind: code for code, kind, *_ in rows} == {**CODES, "any other": UNLISTED}
    assert len({code for code, *_ in rows}) == len(rows)
    assert all(cause.strip() and cure.strip() for *_, cause, cure in rows)
    lacking = {kind for kind in _error_types() - WITHOUT_CODE if kind not in CODES}
    assert lacking == set(), (
        "give each a code in refold/errors/codes.py and a row in docs/errors.md"
    )


# -- the reference ---------------------------------------------------------------------------


def test_the_reference_is_up_to_date() -> None:
    for name, text in Reference().pages().items():
        page = ROOT / "docs/api" / name
        assert page.read_text() == text, f"docs/api/{name}: `make api` writes it anew"


def test_the_reference_has_all_that_can_be_imported() -> None:
    told = [name for page in PAGES if page.module == "refold" for name in page.names]
    assert len({*told}) == len(told)
    errors = {name for name in refold.__all__ if name in CODES or name == "RefoldError"}
    errors |= WITHOUT_CODE
    assert {*told} | errors == {*refold.__all__}, "tools/api_pages.py says what is on which page"


def test_each_call_has_an_example() -> None:
    there = {name for name, _ in examples()}
    assert {*needed_examples()} - there == set(), "write them in examples/api/"
