"""On a terminal, what people, tables and errors bring is text."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from refold.cli import live as cli
from refold.cli.output import PlainConsole
from refold.manager.health import ProjectionHealth, Standing
from refold.messages.live import LiveStatus

texts = st.one_of(
    st.text(max_size=20),
    st.text("[]/\\:a red\x1b\x07\x9b\u202e", max_size=15),
    st.sampled_from(["[red]x", "[/x]", "[/]", ":warning:", "\x1b[2J", "\\[x]", "[link=y]x[/link]"]),
)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@given(texts)
@example("[/x]")
@example(":smile: [red]x \x1b[2J")
def test_it_is_printed_as_it_is(text: str) -> None:
    text = " ".join(text.split())
    file = StringIO()
    console = PlainConsole(file=file, width=500, force_terminal=True)
    console.print(f"<{text}>", soft_wrap=True)
    table = Table("head", box=None)
    table.add_row(f"<{text}>")
    console.print(table)
    shown = file.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert shown.count(f"<{_plain(text)}>") == 2
    assert "\x1b" not in shown


def test_health_shows_a_reason_with_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    file = StringIO()
    monkeypatch.setattr(cli, "console", PlainConsole(file=file, width=300))
    cli._show(
        [
            ProjectionHealth(
                projection="p",
                status=LiveStatus.FAILED,
                is_healthy=False,
                reason="it is failed: expected [red], got [/x] :no_entry:",
                standing=Standing(projection="p"),
            )
        ]
    )
    assert "it is failed: expected [red], got [/x] :no_entry:" in file.getvalue()
