"""The marked places of docs/performance.md: each a table, or a sentence, of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.all.report import Report
from bench.measuring.figures import Figure, amount

_BILLION, _TELLING = 1_000_000_000, 1_000_000
_KINDS = ("Rebuild", "Backfill", "Projection")
_BESIDE = {
    "sql-bare": "one `INSERT … SELECT … GROUP BY`, no index",
    "statement": "the same, into a table with its indexes",
    "rebuild-one": "`Rebuild` in Python, one worker process",
    "rebuild-two": "`Rebuild` in Python, two worker processes",
    "key-function": "`Rebuild`, the key is a function",
    "sql-refolding-1": "`SqlProjection`, refolding, one partition at a time",
    "sql-refolding-2": "`SqlProjection`, refolding, two at a time",
    "sql-whole-2": "`SqlProjection`, the whole run",
    "in-place": "`Backfill` of all keys in place",
    "repair": "`Backfill` of 1 % of the keys, a path",
    "key-repair": "`Backfill` of 1 % of the keys, a function",
    "keyed-by-hand": "a hand-written loop that follows from zero",
    "keyed-follow": "following from zero",
    "indexed-follow": "following from zero, five indexes",
    "peer": "`eventsourcing`'s `ProjectionRunner`",
    "peer-follow": "the same events, followed",
    "orchestration": "the whole run beside its steps in a script, without Temporal",
    "one-processors": "the same, processor time of all that is at work",
}
# How long they take is what counts.
_TAKES = ("repair", "key-repair", "orchestration")
_OTHERS = {
    "sql-bare": "the statement",
    "statement": "the statement with indexes",
    "rebuild-one": "the rebuild",
    "key-path": "the same key as a path",
    "key-function": "that rebuild",
    "keyed-by-hand": "the loop",
    "indexed-by-hand": "a loop on the same table",
    "peer": "that library",
    "script": "the script",
    "script-processors": "the script",
}
_PHASES = {
    "begin_run": "lease and plan",
    "refold_segment": "reading, folding, writing",
    "build_indexes": "indexes",
    "verify_generation": "comparison with the live table",
    "prepare_swap": "statistics",
    "worker": "processor of the workers, in all",
    "postgres": "processor of PostgreSQL",
    "temporal": "processor of Temporal",
}
_BOUNDS = {
    "peak": "peak memory of a worker",
    "hold": "readers locked out by the swap",
    "history": "events in the history of a rebuild",
    "size": "bytes of it",
}
_GROWS = {
    "statement": "one statement, into a table with its indexes",
    **{
        name: _BESIDE[name]
        for name in ("rebuild-one", "rebuild-two", "key-function", "sql-whole-2", "in-place")
    },
}


def places(main: Report, large: Report | None) -> dict[str, str]:
    """What stands at each marked place.

    Args:
        main: The run of all benches.
        large: That of what grows with the events; None before there is one.
    """
    return {
        "when": _when(main, large),
        "beside": _beside(main),
        "phases": _phases(main, large),
        "floor": _floor(main),
        "visible": _visible(main),
        "bounds": _bounds(main, large),
        "scale": _scale(main, large),
        "billion": _billion(main),
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _when(main: Report, large: Report | None) -> str:
    said = [_measured(main)] + ([_measured(large)] if large else [])
    return "\n".join(f"- {one}" for one in said)


def _measured(report: Report) -> str:
    return (
        f"{report.events:,} events, medians of {report.runs}, measured on "
        f"{report.began:%Y-%m-%d} with {report.machine}."
    )


def _beside(main: Report) -> str:
    rows = []
    for name, says in _BESIDE.items():
        figure = main.find(name)
        if figure is not None:
            rate = figure.events_per_second if name not in _TAKES else None
            fast = f"{rate:,.0f} events/s" if rate else amount(figure.median, figure.unit)
            rows.append([says, fast, _ratio(figure), _spread(figure)])
    return table(["", "median", "beside", "spread of the runs"], rows)


def _ratio(figure: Figure) -> str:
    ratio = figure.ratio
    if ratio is None:
        return ""
    aim = f" (aim: {ratio.aim})" if ratio.aim else ""
    return f"{ratio.of_medians:.3g} of {_OTHERS.get(ratio.to, ratio.to)}{aim}"


def _spread(figure: Figure) -> str:
    return f"±{50 * figure.spread:.0f} %" if len(figure.values) > 1 else "one run"


def _phases(main: Report, large: Report | None) -> str:
    reports = [main] + ([large] if large else [])
    rows = []
    for name, says in _PHASES.items():
        found = [report.find(f"{which}-{name}") for report in reports for which in ("one", "two")]
        if any(found):
            rows.append([says, *(f"{figure.median:.2f}" if figure else "" for figure in found)])
    heads = [
        f"{report.events:,} events, {which} worker{'s' * (which == 'two')}"
        for report in reports
        for which in ("one", "two")
    ]
    return table(["µs an event", *heads], rows)


def _floor(main: Report) -> str:
    says = {
        "reading: sort, JSON, the driver": ("read", "sort"),
        "decoding": ("decode", None),
        "keys, handlers, rows": ("fold", None),
        "of that, the handlers": ("handlers", None),
        "writing: `COPY`": ("copy", "copied"),
    }
    rows = []
    for piece, names in says.items():
        figures = [main.find(f"floor-{name}") if name else None for name in names]
        if any(figures):
            rows.append([piece, *(f"{one.median:.2f}" if one else "" for one in figures)])
    return table(["µs an event", "Python", "PostgreSQL"], rows)


def _visible(main: Report) -> str:
    rows = [
        [says, *(_shown(main, f"{how}-p{percent}") for percent in (50, 95, 100))]
        for how, says in (("silent", "nobody notifies"), ("notified", "the appender notifies"))
    ]
    return table(["", "median", "p95", "longest"], rows)


def _bounds(main: Report, large: Report | None) -> str:
    reports = [main] + ([large] if large else [])
    rows = [[says, *(_shown(report, name) for report in reports)] for name, says in _BOUNDS.items()]
    return table(["", *(f"{report.events:,} events" for report in reports)], rows)


def _shown(report: Report, name: str) -> str:
    figure = report.find(name)
    return amount(figure.median, figure.unit) if figure else ""


def _scale(main: Report, large: Report | None) -> str:
    last = large or main
    # Of fewer events, what does not grow with them would count a thousand times.
    foretells = last.events >= _TELLING
    head = ["", f"{main.events:,} events"]
    head += [f"{large.events:,}"] if large else []
    head += ["1,000,000,000, at that rate"] if foretells else []
    rows = []
    for name, says in _GROWS.items():
        here, there = main.find(name), last.find(name)
        if here is None or there is None:
            continue
        row = [says, _time(here.median)]
        if large:
            row.append(f"{_time(there.median)}, {_kept(here, there)} of the rate")
        if foretells:
            row.append(_time(there.median * _BILLION / last.events))
        rows.append(row)
    return table(head, rows)


def _kept(here: Figure, there: Figure) -> str:
    before, after = here.events_per_second, there.events_per_second
    return f"{after / before:.2f}" if before and after else ""


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _billion(main: Report) -> str:
    tell: dict[str, Callable[[Figure], str]] = {
        "segments": lambda figure: f"{figure.median:,.0f}",
        "executions": lambda figure: f"{figure.median:,.0f}",
        "longest": lambda figure: f"{figure.median:,.0f} events",
        "size": lambda figure: f"{figure.median:,.0f} bytes",
        "worker": lambda figure: amount(figure.median, figure.unit),
        "server": lambda figure: amount(figure.median, figure.unit),
        "growth": lambda figure: amount(figure.median, figure.unit),
    }
    says = {
        "segments": "segments",
        "executions": "executions, each the continuation of the last",
        "longest": "the longest history (aim: at most 10,000 events)",
        "size": "the largest history",
        "worker": "processor of the worker for a segment of ten seconds or more",
        "server": "processor of Temporal for it",
        "growth": "growth of the worker's memory in the second half",
    }
    rows = []
    for name, told in tell.items():
        found = [main.find(f"simulated-{kind.lower()}-{name}") for kind in _KINDS]
        if all(found):
            rows.append([says[name], *(told(figure) for figure in found if figure)])
    return table(["", *(f"`{kind}`" for kind in _KINDS)], rows)
