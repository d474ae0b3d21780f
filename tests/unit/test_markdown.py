"""What people, tables and errors bring into the details in the Temporal UI is shown as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from refold.errors.words import printable
from refold.messages.live import LiveError, LiveHealth, LiveReport, LiveStatus
from refold.messages.live_markdown import as_markdown as live_as_markdown
from refold.messages.markdown import code, escaped, table
from refold.messages.run.diff import ColumnDiff, Diff, WrongRow
from refold.messages.run.diff import as_markdown as diff_as_markdown
from refold.messages.run.life import Phase, Progress
from refold.messages.run.preview import DiffSample
from refold.messages.run.progress import as_markdown as progress_as_markdown
from refold.messages.run.status import RunStatus
from refold.messages.step_failures import StepFailure

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}

texts = st.one_of(
    st.text(max_size=30),
    st.text("\\`*_[]()<>|#~&!@:;.,-+='\"{}$^1a \n\t\r\0\x1b\u202e\u200f\u2028\ud800é", max_size=15),
    st.lists(
        st.sampled_from(
            [
                *("[x](javascript:1)", "![x](y)", "[x]: /y", "[^1]", "<img src=x onerror=y>"),
                *("<!-- x -->", "<https://x.y>", "https://x.y/", "www.x.y", "mailto:a@b.c"),
                *("a@b.c", "&lt;", "&#0;", "&amp", "**b**", "__b__", "_i_", "~~s~~", "`c`"),
                *("``` x", "# h", "> q", "- l", "+ l", "* l", "1. l", "12) l", "---", "===", "***"),
                *("    code", "a  ", "\\", "a\\\n", "| a | b |", "|---|---|", "\n\n", " "),
            ]
        ),
        max_size=3,
    ).map("".join),
)


class _Shown(HTMLParser):
    """The text of each block, and which elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[Any] = []
        self.blocks: list[str] = []
        self.cells = 0
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag in ("h3", "p", "td", "th"):
            self.blocks.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("h3", "p", "td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[-1] += data


def shown(markdown: str, *, code: int = 0) -> _Shown:
    found = _Shown()
    found.feed(RENDERER.render(markdown))
    found.close()
    assert set(found.elements) - {"code"} <= OURS, found.elements
    assert found.elements.count("code") == code
    assert found.attributes == []
    return found


@given(texts)
@example("1. x")
@example("1234567890. x")
@example("-")
@example("    x")
@example("x\\")
@example("\u202eevil\n===")
@example("http://x www.x mailto:x@y")
def test_text_comes_out_as_it_went_in(text: str) -> None:
    plain = printable(text)
    if plain:
        assert shown(escaped(text)).blocks == [plain]
        assert shown(f"### {escaped(text)}").blocks == [plain]
        assert shown(f"a paragraph\n\n{escaped(text)}\n\nanother").blocks[1:-1] == [plain]
        assert shown(f"before {escaped(text)}").blocks == [f"before {plain}"]
    cells = shown("\n".join(table(["a", escaped(text)], [[escaped(text), "b"]]))).blocks
    assert [cell.removesuffix("\N{NO-BREAK SPACE}" * 3) for cell in cells] == [
        "a",
        plain,
        plain,
        "b",
    ]


@given(texts)
@example("` `` a")
def test_what_to_type_comes_out_as_it_went_in(text: str) -> None:
    typed = f"refold restart {text}x"
    assert shown(f"or {code(typed)} again", code=1).blocks == [f"or {printable(typed)} again"]


@given(texts)
def test_nothing_that_gfm_links_by_itself_is_left(text: str) -> None:
    assert not re.search(r"(?i)[a-z]://|mailto:|xmpp:|www\.|(?<!\\)@", escaped(text))


def _failure(text: str) -> StepFailure:
    return StepFailure(step=text, type=text, message=text, since=NOW, attempts=2, last_at=NOW)


def _progress(text: str) -> str:
    progress = Progress(
        status=RunStatus.RUNNING,
        phase=Phase.REFOLDING,
        note=text,
        waiting_for=[text],
        obstacles=[text, text],
        failing=_failure(text),
    )
    return progress_as_markdown(progress, text)


def _health(text: str) -> str:
    health = LiveHealth(
        projection=text,
        status=LiveStatus.FAILED,
        report=LiveReport(status=LiveStatus.LIVE, waiting_for=[text], at=NOW, note=text),
        error=LiveError(type=text, message=text, at=NOW, attempts=1),
        failing=_failure(text),
        waiting_for=[text],
    )
    return live_as_markdown(health)


def _diff(text: str) -> str:
    row = {text: text, f"{text}2": None}
    return diff_as_markdown(
        Diff(
            projection=text,
            live_generation=1,
            shadow_generation=2,
            position=3,
            rows_live=1,
            rows_shadow=1,
            added=0,
            removed=0,
            changed=1,
            unchanged=0,
            columns=[ColumnDiff(column=text, rows=1)],
            columns_added=[text],
            columns_dropped=[text],
            columns_retyped=[text],
            samples=[DiffSample(kind="changed", key=row, live=row, shadow=row)],
            folded_again=1,
            folded_wrong=1,
            wrong=[WrongRow(key=row, expected=row, found=row)],
            compared_at=NOW,
            note=text,
        )
    )


@pytest.mark.parametrize(("made", "times"), [(_progress, 7), (_health, 8), (_diff, 14)])
@given(text=texts)
def test_details_show_what_they_are_given(
    made: Callable[[str], str], times: int, text: str
) -> None:
    """As many blocks of the same kinds, whatever it is; and all of it is there."""
    codes = int(made is _health)  # `refold restart`
    found, plainly = shown(made(text), code=codes), shown(made("x"), code=codes)
    if printable(text):
        assert found.elements == plainly.elements
    plain = printable(text)
    if len(plain) > 3:
        assert sum(block.count(plain) for block in found.blocks) >= times
