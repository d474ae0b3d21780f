"""Finding projections in modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Table, Text

from refold import Event, Projection, Row
from refold.errors import ConfigurationError, InvalidProjection, UnknownProjection
from refold.projection.registry import Registry, load_registry

Write = Callable[[str, str], None]

SOURCE = """
from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Table, Text
from refold import Projection

{variable} = Projection(
    "{name}",
    table=Table("of_{name}", MetaData(), Column("id", Text, primary_key=True)),
    key="stream_id",
)
{variable}.on("Added")(lambda row, event: {{}})
"""


def source(name: str) -> str:
    return SOURCE.format(name=name, variable="made")


def projection(name: str, *types: str) -> Projection:
    table = Table(f"of_{name}", MetaData(), Column("id", Text, primary_key=True))
    made = Projection(name, table=table, key="stream_id")
    for event_type in types:

        @made.on(event_type)
        def handle(row: Row | None, event: Event) -> Row:
            return {}

    return made


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module; what was imported is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("made_here"):
            del sys.modules[name]


def test_a_registry_is_in_order_of_names() -> None:
    registry = Registry([projection("b", "X"), projection("a", "X")])
    assert [each.name for each in registry] == ["a", "b"]
    assert len(registry) == 2
    assert registry.get("a").name == "a"


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    registry = Registry([projection("b", "X"), projection("a", "X")])
    with pytest.raises(UnknownProjection, match=r"expected one of \(a, b\), got 'c'"):
        registry.get("c")


def test_an_empty_registry_says_where_projections_come_from() -> None:
    with pytest.raises(UnknownProjection, match="REFOLD_PROJECTIONS names no projection"):
        Registry().get("a")


def test_two_projections_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidProjection, match="two projections are named 'a' with version 1: re"):
        Registry([projection("a", "X"), projection("a", "X")])


def test_one_projection_twice_is_one() -> None:
    same = projection("a", "X")
    assert len(Registry([same, same])) == 1


def test_a_projection_without_handlers_is_refused() -> None:
    with pytest.raises(InvalidProjection, match="a: expected at least one handler"):
        Registry([projection("a")])


def test_a_module_is_searched(write: Write) -> None:
    write("made_here.py", source("one"))
    assert [each.name for each in load_registry(["made_here"])] == ["one"]


def test_a_package_is_walked_to_its_depth(write: Write) -> None:
    write("made_here/__init__.py", source("top"))
    write("made_here/one.py", source("one"))
    write("made_here/deep/__init__.py", "")
    write("made_here/deep/two.py", source("two"))
    names = [each.name for each in load_registry(["made_here"])]
    assert names == ["one", "top", "two"]


def test_a_projection_that_another_module_imports_is_found_once(write: Write) -> None:
    write("made_here/__init__.py", "from made_here.one import made as again")
    write("made_here/one.py", source("one"))
    assert len(load_registry(["made_here", "made_here.one"])) == 1


def test_two_modules_with_one_name_are_refused(write: Write) -> None:
    write("made_here_1.py", source("same"))
    write("made_here_2.py", source("same"))
    with pytest.raises(InvalidProjection, match="two projections are named 'same'"):
        load_registry(["made_here_1", "made_here_2"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No module named 'made_here' in the working directory, on PYTHONPATH"),
        ("import made_here_missing", "No module named 'made_here_missing'"),
        ("def broken(:", "invalid syntax"),
        ("from refold import Nothing", "cannot import name 'Nothing'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    write: Write, text: str | None, reason: str
) -> None:
    if text is not None:
        write("made_here.py", text)
    with pytest.raises(ConfigurationError, match="'made_here' fails") as caught:
        load_registry(["made_here"])
    assert reason in str(caught.value)
    assert "REFOLD_PROJECTIONS" in str(caught.value)


def test_a_broken_module_within_a_package_is_not_passed_over(write: Write) -> None:
    write("made_here/__init__.py", "")
    write("made_here/inner/__init__.py", "import made_here_missing")
    with pytest.raises(ConfigurationError, match="made_here_missing"):
        load_registry(["made_here"])


def test_the_working_directory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_here_too.py").write_text(source("one"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    try:
        assert len(load_registry(["made_here_too"])) == 1
    finally:
        del sys.modules["made_here_too"]


def test_the_sample_projections_are_found(shop: Registry) -> None:
    assert {"customer-summary", "order-summary"} <= {each.name for each in shop}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (None, None, True),
        (None, "public", True),
        ("public", "public", True),
        ("shop", "shop", True),
        ("shop", None, False),
        ("shop", "archive", False),
    ],
)
def test_two_projections_have_two_tables(
    one: str | None, other: str | None, *, alike: bool
) -> None:
    first, second = (_of_table(name, schema) for name, schema in (("a", one), ("b", other)))
    if not alike:
        assert len(Registry([first, second])) == 2
        return
    with pytest.raises(InvalidProjection, match="'a' and 'b' have one table"):
        Registry([first, second])


def test_versions_of_a_projection_share_its_table() -> None:
    versions = [_of_table("a", None, version=1), _of_table("a", None, version=2)]
    assert Registry(versions).versions("a") == [1, 2]


def _of_table(name: str, schema: str | None, *, version: int = 1) -> Projection:
    table = Table("same", MetaData(), Column("id", Text, primary_key=True), schema=schema)
    made = Projection(name, version=version, table=table, key="stream_id")
    made.on("A")(lambda row, event: {})
    return made


def test_a_key_that_is_checked_late_is_refused() -> None:
    key = PrimaryKeyConstraint("id", deferrable=True)
    table = Table("same", MetaData(), Column("id", Text), key)
    with pytest.raises(InvalidProjection, match="deferrable"):
        Projection("a", table=table, key="stream_id")
