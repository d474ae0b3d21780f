"""What a line of an event file may be, and what is said about one that is not an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from refold.errors import InvalidEventFile
from refold.source.files.event_file import parse_line


def _line(**changes: Any) -> bytes:
    event = {"stream_id": "order-1", "type": "OrderPlaced", "data": {}, **changes}
    return json.dumps({k: v for k, v in event.items() if v is not ...}).encode()


def test_the_least_that_an_event_needs() -> None:
    event = parse_line(7, _line(data={"a": 1}))
    assert event == (7, "order-1", "OrderPlaced", '{"a":1}', "{}", None, None)


def test_everything_that_an_event_may_have() -> None:
    event = parse_line(
        1,
        _line(
            data={"name": 'odd "bytes" £\n', "n": [1, 2.5, None, True]},
            metadata={"who": None},
            recorded_at="2011-02-28T17:04:00.25+01:00",
            version=3,
        )
        + b"\r\n",
    )
    assert event is not None
    assert orjson.loads(event.data) == {"name": 'odd "bytes" £\n', "n": [1, 2.5, None, True]}
    assert event.metadata == '{"who":null}'
    zone = timezone(timedelta(hours=1))
    assert event.recorded_at == datetime(2011, 2, 28, 17, 4, 0, 250_000, zone)
    assert event.version == 3


@pytest.mark.parametrize("blank", [b"", b"\n", b"  \t\r\n"])
def test_a_blank_line_is_no_event(blank: bytes) -> None:
    assert parse_line(1, blank) is None


@pytest.mark.parametrize(
    "written", ["2011-02-28T17:04:00Z", "2011-02-28t17:04:00z", "2011-02-28 12:04:00-05:00"]
)
def test_ways_of_writing_a_time(written: str) -> None:
    event = parse_line(1, _line(recorded_at=written))
    assert event is not None
    assert event.recorded_at == datetime(2011, 2, 28, 17, 4, tzinfo=UTC)


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**63, 0])
def test_integers_of_64_bits_are_kept(number: int) -> None:
    event = parse_line(1, _line(data={"n": number}))
    assert event is not None
    assert event.data == f'{{"n":{number}}}'


@pytest.mark.parametrize(
    "text", ["\\u0000", "1234567890123456789012345678901234567890", "1.00000000000000000000001"]
)
def test_text_that_only_looks_dangerous_is_kept(text: str) -> None:
    event = parse_line(1, _line(data={"text": text}))
    assert event is not None
    assert orjson.loads(event.data) == {"text": text}


_DEEP: Any = {}
for _ in range(300):
    _DEEP = {"a": _DEEP}

_BAD = {
    "not JSON": (b"{", "expected a JSON object, got text that is not JSON"),
    "not UTF-8": (b'{"type": "\xff"}', "not JSON"),
    "two objects": (_line() + _line(), "not JSON"),
    "NaN": (_line(data={"n": float("nan")}), "not JSON"),
    "infinite number": (_line().replace(b"{}", b'{"n": 1e400}'), "not JSON"),
    "lone surrogate": (_line(data={"a": "\ud800"}), "not JSON"),
    "an array": (b"[1, 2]", "expected an object, got [1,2]"),
    "null": (b"null", "expected an object, got null"),
    "no stream": (_line(stream_id=...), "stream_id: expected a string that is not empty, got none"),
    "empty stream": (_line(stream_id=""), "stream_id: expected a string that is not empty, got an"),
    "stream number": (_line(stream_id=5), "stream_id: expected a string that is not empty, got 5"),
    "long stream": (_line(stream_id="ü" * 1301), "stream_id: expected at most 2600 bytes, got 260"),
    "no type": (_line(type=...), "type: expected a string that is not empty, got none"),
    "empty type": (_line(type=""), "type: expected a string that is not empty, got an empty one"),
    "type null": (_line(type=None), "type: expected a string that is not empty, got null"),
    "no data": (_line(data=...), "data: expected an object, got none"),
    "data array": (_line(data=[1]), "data: expected an object, got [1]"),
    "data null": (_line(data=None), "data: expected an object, got null"),
    "data deep": (_line(data=_DEEP), "data: expected an object that can be written as JSON, got "),
    "metadata text": (_line(metadata="x"), 'metadata: expected an object, got "x"'),
    "long value": (_line(metadata="x" * 99), "metadata: expected an object, got " + '"' + "x" * 59),
    "unknown field": (_line(id=4), "fields: expected only stream_id, type, data, metad"),
    "time number": (_line(recorded_at=1298912640), "recorded_at: expected an RFC 3339 time"),
    "time null": (_line(recorded_at=None), "recorded_at: expected an RFC 3339 time"),
    "no zone": (_line(recorded_at="2011-02-28T17:04:00"), 'got "2011-02-28T17:04:00"'),
    "date only": (_line(recorded_at="2011-02-28"), "recorded_at: expected an RFC 3339 time"),
    "no such day": (_line(recorded_at="2011-02-29T00:00:00Z"), 'got "2011-02-29T00:00:00Z"'),
    "year 0 in UTC": (_line(recorded_at="0001-01-01T00:00:00+01:00"), "recorded_at: expected an"),
    "week date": (_line(recorded_at="2011-W01-1T00:00:00Z"), "recorded_at: expected an RFC 3339"),
    "version 0": (_line(version=0), "version: expected an integer from 1, got 0"),
    "version true": (_line(version=True), "version: expected an integer from 1, got true"),
    "version 1.0": (_line(version=1.0), "version: expected an integer from 1, got 1.0"),
    "version text": (_line(version="1"), 'version: expected an integer from 1, got "1"'),
    "version null": (_line(version=None), "version: expected an integer from 1, got null"),
    "NUL in data": (_line(data={"a": [{"b": "x\0"}]}), "data.a[0].b: expected text without NUL"),
    "NUL in a key": (_line(data={"a\0": 1}), "data: expected text without NUL"),
    "NUL in the type": (_line(type="a\0"), "type: expected text without NUL"),
    "NUL in the stream": (_line(stream_id="\0"), "stream_id: expected text without NUL"),
    "2**64": (_line(data={"a": {"n": 2**64}}), "data.a.n: expected an integer of at most 64 bits"),
    "-2**63-1": (_line(metadata={"n": -(2**63) - 1}), "metadata.n: expected an integer of at mos"),
    "300 digits": (
        _line().replace(b"{}", b'{"n": 1' + b"0" * 300 + b"}"),
        "data.n: expected an integer of at most 64 bits (or a string), got 1000",
    ),
}


@pytest.mark.parametrize(("content", "reason"), _BAD.values(), ids=_BAD.keys())
def test_a_bad_line_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidEventFile) as refused:
        parse_line(42, content)
    assert refused.value.line == 42
    assert str(refused.value).startswith("line 42: ")
    assert str(refused.value).endswith("; nothing was imported")
    assert reason in str(refused.value)
