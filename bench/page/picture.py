"""The bar chart of docs/performance.md: events a second, side by side.

It is shown by an `<img>`, on light and on dark pages: its ground is transparent, its words are of a
grey that can be read on both, and nothing in it is fetched or executed.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pygal
from pygal.style import Style

from bench.all.report import Report

# It looks for plugins of its own with each later import, in a way that Python warns of.
sys.meta_path[:] = [
    finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)
]

# Of PostgreSQL alone, of Refold, of others.
_LIMIT, _OURS, _THEIRS = "#8c959f", "#2f81f7", "#d29922"
_GREY = "#7d8590"
_BARS = {
    "sql-bare": ("one INSERT … SELECT … GROUP BY", _LIMIT),
    "statement": ("the same, indexes there", _LIMIT),
    "sql-refolding-2": ("SqlProjection, refolding, two at a time", _OURS),
    "sql-refolding-1": ("SqlProjection, refolding, one at a time", _OURS),
    "sql-whole-2": ("SqlProjection, the whole run", _OURS),
    "rebuild-two": ("Rebuild in Python, two workers", _OURS),
    "rebuild-one": ("Rebuild in Python, one worker", _OURS),
    "key-function": ("the same, the key is a function", _OURS),
    "in-place": ("Backfill of all keys in place", _OURS),
    "keyed-follow": ("following from zero", _OURS),
    "keyed-by-hand": ("a hand-written loop that follows", _THEIRS),
    "peer": ("eventsourcing's ProjectionRunner", _THEIRS),
}
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground=_GREY,
    foreground_strong=_GREY,
    foreground_subtle=_GREY,
    font_family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif",
    label_font_size=13,
    major_label_font_size=13,
    value_font_size=13,
    value_colors=(_GREY,),
    opacity="1",
    transition="none",
)


# pygal would write a value across the end of its bar, and lines that only a light page shows.
_CSS = (
    "inline:.text-overlay text.value {text-anchor: start; transform: translate(6px, 0)}"
    ".axis .guide.line {display: none}"
)


def draw(report: Report) -> str:
    """The chart as SVG; bars of what was not measured are left out."""
    found = [
        (says, rate, color)
        for name, (says, color) in _BARS.items()
        if (figure := report.find(name)) is not None
        and (rate := figure.events_per_second) is not None
    ]
    chart = pygal.HorizontalBar(
        style=_STYLE,
        js=(),
        no_prefix=True,
        show_legend=False,
        print_values=True,
        print_values_position="top",
        show_x_labels=False,
        value_formatter=lambda value: f"{value:,.0f}",
        # Bars go up from the bottom.
        x_labels=[says for says, _, _ in reversed(found)],
        title="events a second",
        range=(0, 1.15 * max(rate for _, rate, _ in found)),
        width=900,
        height=90 + 32 * len(found),
        spacing=12,
        margin=12,
    )
    chart.config.css.append(_CSS)
    chart.add("", [{"value": round(rate), "color": color} for _, rate, color in reversed(found)])
    svg = chart.render_tree()
    _without_scripts(svg)
    svg.set("role", "img")
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _without_scripts(element: ElementTree.Element) -> None:
    """Takes scripts and comments away, with the date and addresses in them."""
    for child in list(element):
        if child.tag == "script" or callable(child.tag):
            element.remove(child)
        else:
            _without_scripts(child)
