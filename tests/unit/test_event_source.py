"""What an event source takes and refuses, and that nobody else knows where events are."""

from __future__ import annotations

import ast
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    func,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from refold import ConfigurationError, EventSource, InvalidRequest, Projection, UnreadableEvent
from refold.predicates import parse_predicate
from refold.runtime.settings import Settings
from refold.source.port import current
from refold.source.port.requirements import require_keys_seen
from refold.source.push_down import pushed_down
from refold.source.tenants import of_tenant

ROOT = Path(__file__).parents[2]

log = Table(
    "log",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("code", Numeric),
    Column("stream", Uuid),
    Column("kind", Text),
    Column("body", JSONB),
    Column("blob", Text),
    Column("at", DateTime(timezone=True)),
)


def source(selected: Any = log, **changes: Any) -> EventSource:
    given: dict[str, Any] = {"position": log.c.id, "type": log.c.kind, "data": log.c.body}
    return EventSource(selected, **(given | changes))


def sql(expression: Any) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(expression.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


# -- nobody else knows -------------------------------------------------------------------------


def test_no_function_outside_of_the_source_knows_the_table_of_events() -> None:
    knowing = [
        f"{path.relative_to(ROOT)}: {found}"
        for place in ("refold", "activities", "workflows")
        for path in sorted((ROOT / place).rglob("*.py"))
        if "refold/source" not in str(path) and "migrations" not in path.parts
        for found in _named(path.read_text())
    ]
    assert knowing == []


@pytest.mark.parametrize(
    "code",
    [
        "'SELECT 1 FROM refold.events AS e'",
        """'SELECT 1 FROM "refold"."events"'""",
        "f'SELECT 1 FROM {SCHEMA}.events'",
        "'events_position_seq'",
        "'NOTIFY refold_events'",
        "from refold.store.schema import events as e",
        "from refold.store.schema import *",
        "from refold.store import schema as s; s.events",
        "import refold.store.schema as s; s.events",
        "import refold; refold.store.schema.events.c.position",
        "from refold.store import schema; getattr(schema, 'events')",
        "metadata.tables['refold.events']",
    ],
)
def test_whoever_knows_it_is_found(code: str) -> None:
    assert _named(code)


def test_others_are_not_taken_for_it() -> None:
    assert _named("schema.system_events; run.events; 'refold.events_of'; f'{run}.events'") == []


_TABLE = re.compile(r"\"?refold\"?\.\"?events\b(?![_.])|\bevents_position_seq\b|\brefold_events\b")
_SCHEMA = "refold.store.schema"


def _named(code: str) -> list[str]:
    """How code names Refold's own table of events: in text, or as what `schema` has."""
    tree = ast.parse(code)
    found, modules = [], {"schema", _SCHEMA}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or "" for alias in node.names if alias.name == _SCHEMA}
        if isinstance(node, ast.ImportFrom) and node.module == "refold.store":
            modules |= {a.asname or "" for a in node.names if a.name == "schema"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += _TABLE.findall(node.value)
        if isinstance(node, ast.ImportFrom) and node.module == _SCHEMA:
            found += [alias.name for alias in node.names if alias.name in ("events", "*")]
        if isinstance(node, ast.Attribute) and node.attr == "events":
            found += [ast.unparse(node)] if ast.unparse(node.value) in modules else []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            found += ["getattr"] if ast.unparse(node.args[0]) in modules else []
        if isinstance(node, ast.JoinedStr):
            whole = ast.unparse(node)
            found += re.findall(r"\{(?:schema\.)?SCHEMA\}\.events\b", whole)
    return found


def test_refolds_own_table_is_read_as_it_is() -> None:
    assert current.OWN.is_own
    assert current.OWN.events is current.OWN.tables[0]
    assert current.OWN.before == 0


# -- what it takes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"position": log.c.code}, "position: expected a column of whole numbers"),
        ({"data": log.c.stream}, "data: expected a column of jsonb, json, text or bytea"),
        ({"metadata": log.c.at}, "metadata: expected a column of jsonb, json, text or bytea"),
        ({"selected": select(log).limit(5)}, "got one with LIMIT"),
        ({"selected": select(log).distinct()}, "got one with DISTINCT"),
        ({"selected": select(log.c.id).group_by(log.c.id)}, "got one with GROUP BY"),
        ({"selected": select(func.now())}, "expected a Table among what is selected from"),
    ],
)
def test_what_cannot_be_read_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        source(**changes)


def test_a_stream_that_may_be_missing_is_empty_and_others_are_compared_as_stored() -> None:
    required = Table("t", MetaData(), Column("s", Uuid, nullable=False), Column("n", Integer))
    optional = source(stream_id=log.c.stream)
    assert "coalesce(CAST(log.stream AS TEXT), '')" in sql(optional.statement)
    plain = EventSource(
        required, position=required.c.n, stream_id=required.c.s, type=log.c.kind, data=log.c.body
    )
    assert "t.s AS stream_id" in sql(plain.statement)


def test_types_are_translated_in_constants() -> None:
    mapped = source(type_prefix="Elixir.Shop.")
    assert mapped.stored_types(["Placed"]) == ["Elixir.Shop.Placed"]
    assert mapped.type_of("Elixir.Shop.Placed") == "Placed"
    with current.using(mapped):
        for predicate, expected in (
            ("event.type == 'Placed'", "= 'Elixir.Shop.Placed'"),
            ("event.type in ['A', 'B']", "= 'Elixir.Shop.B'"),
            ("event.type.startsWith('Pl')", "LIKE 'Elixir.Shop.Pl' || '%%'"),
            ("event.type < 'C'", "< 'Elixir.Shop.C'"),
        ):
            pushed = pushed_down(parse_predicate(predicate))
            assert pushed.exact
            assert expected in sql(pushed.conditions[0])
        # Its constant might reach into the prefix.
        pushed = pushed_down(parse_predicate("event.type.endsWith('p.Placed')"))
        assert (pushed.exact, pushed.conditions) == (False, [])


def test_what_sql_cannot_see_is_not_asked_of_it() -> None:
    hidden = source(data=log.c.blob, decode=lambda raw: {"raw": raw})
    with current.using(hidden):
        for predicate in (
            "event.data.n == 1",
            "event.recorded_at > timestamp('2026-01-01T00:00:00Z')",
        ):
            pushed = pushed_down(parse_predicate(predicate))
            assert (pushed.exact, pushed.conditions) == (False, [])
        with pytest.raises(InvalidRequest, match="a tenant that SQL can see"):
            of_tenant("acme", "data.tenant")
        with pytest.raises(InvalidRequest, match="set REFOLD_TENANT_PATH"):
            of_tenant("acme", None)


def test_a_projection_that_sql_cannot_serve_is_refused_by_name() -> None:
    table = Table("rows", MetaData(), Column("id", Text, primary_key=True))
    projection = Projection("rows", table=table, key="data.id")
    require_keys_seen(source(), [projection])
    hidden = source(data=log.c.blob, decode=lambda raw: {"raw": raw})
    with pytest.raises(
        ConfigurationError, match=r"^rows: key: .* got 'data.id'.*decoded in Python"
    ):
        require_keys_seen(hidden, [projection])


# -- where it is found -------------------------------------------------------------------------

here = source(name="here")
number = 5


def makes() -> EventSource:
    return source(name="made")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("nowhere.at_all:source", "No module named 'nowhere' in the working directory"),
        ("nowhere", "such as shop.events:source, got 'nowhere'"),
        ("shop/events.py:source", "such as shop.events:source, got"),
        (f"{__name__}:missing", "has no attribute 'missing'"),
        (f"{__name__}:number", "which is int"),
    ],
)
def test_a_place_without_a_source_is_named(place: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^REFOLD_EVENTS: .*{expected}"):
        current.load_source(place)


def test_a_process_reads_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_used", None)
    monkeypatch.setenv("REFOLD_EVENTS", f"{__name__}:here")
    assert current.event_source() is here
    assert current.use_source(Settings()) is here
    with pytest.raises(ConfigurationError, match=r"expected one event source for a process"):
        current.use_source(Settings(events=f"{__name__}:makes"))
    with current.using(source(name="of a test")) as other:
        assert current.event_source() is other
    assert current.event_source() is here


def test_a_function_may_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_used", None)
    found = current.use_source(Settings(events=f"{__name__}:makes"))
    assert repr(found) == "EventSource(made)"
    assert current.use_source(Settings(events=f"{__name__}:makes")) is found


# -- what comes of it in Python ----------------------------------------------------------------


def _travelled(data: Any, metadata: Any = None, at: str | None = None) -> list[Any]:
    return [7, "s", 1, "Shop.Placed", data, metadata, at]


def test_what_is_missing_is_empty_and_old() -> None:
    read = source(type_prefix="Shop.").fields.read(_travelled(None))
    assert read[3:] == ["Placed", {}, {}, "1970-01-01T00:00:00+00:00"]


def test_metadata_that_is_no_object_is_named() -> None:
    mapped = source(metadata={"*": log.c.body, "kind": log.c.kind})
    assert mapped.fields.read(_travelled({}, [{"a": 1}, {"kind": "k"}]))[5] == {"a": 1, "kind": "k"}
    with pytest.raises(UnreadableEvent, match=r"^event 7: expected metadata .* got a list of 2"):
        mapped.fields.read(_travelled({}, [[1, 2], {}]))


def test_numbers_in_text_are_exact() -> None:
    read = source(data=log.c.blob).fields.read(_travelled('{"n": 12345678901234567890.125}'))
    assert str(read[4]["n"]) == "12345678901234567890.125"


@pytest.mark.parametrize("secret", ["{", "[" * 100_000, "no JSON"])
def test_what_is_no_json_is_named_without_what_it_holds(secret: str) -> None:
    with pytest.raises(UnreadableEvent, match=r"^event 7: its data cannot be read") as failed:
        source(data=log.c.blob).fields.read(_travelled(secret))
    assert "no JSON" not in str(failed.value)


def test_what_decode_raises_is_an_unreadable_event() -> None:
    def decode(raw: str) -> dict[str, Any]:
        raise RuntimeError(f"the key does not fit {raw}")

    with pytest.raises(UnreadableEvent, match=r"event 7: its data .* \(RuntimeError\)") as failed:
        source(data=log.c.blob, decode=decode).fields.read(_travelled("secret"))
    assert "secret" not in str(failed.value)


def test_a_time_may_come_from_the_data_and_must_have_a_zone() -> None:
    def at(data: Any) -> datetime:
        return datetime.fromisoformat(data["at"])

    mapped = source(recorded_at=at)
    assert not mapped.has_times
    read = mapped.fields.read(_travelled({"at": "2026-01-01T12:00:00+02:00"}))
    assert read[6] == "2026-01-01T12:00:00+02:00"
    for wrong in ({"at": "2026-01-01T12:00:00"}, {}):
        with pytest.raises(UnreadableEvent, match="finds no time in its data"):
            mapped.fields.read(_travelled(wrong))


def test_a_time_that_is_null_is_not_guessed() -> None:
    with pytest.raises(UnreadableEvent, match="expected a recorded_at, got NULL"):
        source(recorded_at=log.c.at).fields.read(_travelled({}))
