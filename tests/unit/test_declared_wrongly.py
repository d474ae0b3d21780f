"""What is declared wrongly is refused with the user's file and line."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from refold.errors import ConfigurationError, InvalidProjection, RefoldError
from refold.projection.reading.shapes import NoRowReturned
from refold.projection.registry import load_registry

_HEAD = """\
from sqlalchemy import Column, Integer, MetaData, Table, Text
from sqlalchemy.types import NullType
from refold import Projection, SqlProjection, predicate

def table(name="t", *columns):
    return Table(name, MetaData(), *(columns or [Column("id", Text, primary_key=True)]))

"""
_WHOLE = """\
{name} = Projection("{named}", version={version}, table=table("{table}"), key="stream_id"){mark}
{name}.on("A")(lambda row, event: {{}})
"""


def whole(name: str, named: str, *, version: int = 1, table: str = "t", mark: str = "") -> str:
    """A projection that can work."""
    return _WHOLE.format(name=name, named=named, version=version, table=table, mark=mark)


_RIGHT = whole("made", "made")
_HERE = "  # here"

WRONG = {
    "no such name": ("made = Projecton('made', table=table(), key='stream_id')", "Projecton"),
    "syntax": ("def made(:  # here", "invalid syntax"),
    "an error of its own": ("1 / 0  # here", "ZeroDivisionError"),
    "a module that is missing": ("import no_such_module  # here", "No module named"),
    "a name": ("Projection('Made', table=table(), key='stream_id')", "name: expected"),
    "a version": ("Projection('made', version=0, table=table(), key='stream_id')", "version"),
    "a key's path": ("Projection('made', table=table(), key='customer_id')", "customer_id"),
    "too many parts of a key": (
        "Projection('made', table=table(), key=('stream_id', 'data.sku'))",
        "expected 1 path(s)",
    ),
    "a key of nothing": ("Projection('made', table=table(), key=lambda: None)", "(event)"),
    "a table without key": (
        "Projection('made', table=table('t', Column('n', Integer)), key='stream_id')",
        "needs a primary key",
    ),
    "a column's type": (
        "Projection('made', table=table('t', Column('id', Text, primary_key=True), "
        "Column('x', NullType)), key='stream_id')",
        "'x'",
    ),
    "no type of event": (_RIGHT + "made.on()", "at least one event type"),
    "a handler of one argument": (
        _RIGHT + "made.on('B')(lambda event: {})",
        "expected a function of (row, event)",
    ),
    "a handler of three": (
        _RIGHT + "made.on('B')(lambda row, event, more: {})",
        "expected a function of (row, event)",
    ),
    "a handler that is none": (_RIGHT + "made.on('B')(3)", "expected a function, got a int"),
    "a second handler": (_RIGHT + "made.on('A')(lambda row, event: {})", "has a handler already"),
    "an async handler": (
        _RIGHT + "async def b(row, event): return {}\n\nmade.on('B')(b)",
        "an async one",
    ),
    "a handler that yields": (
        _RIGHT + "def b(row, event): yield {}\n\nmade.on('B')(b)",
        "one that yields",
    ),
    "a type's key": (_RIGHT + "made.on('B', key=('a', 'b'))", "on('B')"),
    "a class that is no event's": (_RIGHT + "made.on(int)(lambda row, event: {})", "int"),
    "a select": (
        "SqlProjection('made', table=table(), select=lambda events: 3, key='stream_id')",
        "made",
    ),
    "no handler": ("made = Projection('made', table=table(), key='stream_id')", "one handler"),
    "one name twice": (_RIGHT + whole("more", "made", mark=_HERE), "two projections are named"),
    "one table twice": (_RIGHT + whole("more", "more", mark=_HERE), "have one table"),
    "two tables": (
        _RIGHT + whole("more", "made", version=2, table="u", mark=_HERE),
        "one table name for all",
    ),
    "one predicate twice": (
        _RIGHT + "predicate('p')(lambda event: True)\n"
        "p = predicate('p')(lambda event: True)\nq = predicate('p')(lambda event: True)",
        "two predicates",
    ),
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Writes a module of read models; returns the line that is marked, or else its last one."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> int:
        (tmp_path / "read_models").mkdir()
        (tmp_path / "read_models/__init__.py").touch()
        (tmp_path / "read_models/orders.py").write_text(_HEAD + text)
        lines = (_HEAD + text).rstrip().split("\n")
        return next((n for n, line in enumerate(lines, 1) if line.endswith(_HERE)), len(lines))

    yield write
    for name in {*sys.modules}:
        if name.partition(".")[0] == "read_models":
            del sys.modules[name]


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_it_is_refused_with_file_and_line(
    write: Callable[[str], int], text: str, said: str
) -> None:
    line = write(text)
    with pytest.raises(RefoldError) as refused:
        load_registry(["read_models"])
    told = str(refused.value)
    assert isinstance(refused.value, InvalidProjection | ConfigurationError), told
    assert said in told
    assert f"read_models/orders.py:{line}: " in told
    assert told.count("orders.py") == 1, told


HANDLERS = {
    "changed in place": ("row['n'] += 1", True),
    "an early end": ("if row is None:\n        return\n    row['n'] += 1", True),
    "nothing at all": ("pass", True),
    "a deletion": ("return None", False),
    "a deletion on one way": ("if row:\n        return None\n    row['n'] = 1", False),
    "an error": ("raise ValueError", False),
    "a row": ("return row", False),
    "a row on one way": ("if row:\n        return {}", False),
}


@pytest.mark.parametrize(("body", "is_warned"), HANDLERS.values(), ids=HANDLERS)
def test_a_handler_that_never_returns_a_row_is_warned_of(
    write: Callable[[str], int], body: str, is_warned: bool
) -> None:
    write(_RIGHT + f"@made.on('B')  # here\ndef forgets(row, event):\n    {body}\n")
    with pytest.warns(NoRowReturned) if is_warned else nullcontext() as warned:
        load_registry(["read_models"])
    if warned is None:
        return
    (one,) = warned
    line = (_HEAD + _RIGHT).count("\n") + 1
    assert Path(one.filename).name == "orders.py"
    assert one.lineno == line
    assert f"made: handler 'forgets' (read_models/orders.py:{line}) has no `return`" in str(
        one.message
    )


def test_who_says_that_nothing_is_returned_is_not_warned(write: Callable[[str], int]) -> None:
    text = """
    @made.on('B')
    def removed(row, event) -> None:
        '''The order is gone.'''
    """
    write(_RIGHT + textwrap.dedent(text))
    load_registry(["read_models"])  # a warning would be an error
