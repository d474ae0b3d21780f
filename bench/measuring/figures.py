"""Figures: what a bench has measured, with medians, spread and ratios, for people and as JSON."""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Unit = Literal["s", "ms", "MiB", "µs an event", "events", "segments", "executions", "bytes"]
Values = Annotated[list[float], Field(min_length=1)]


class Ratio(BaseModel):
    """A figure in relation to another one of the same runs.

    Attributes:
        to: The other figure's name.
        values: The ratio in each run.
        of_medians: The ratio of the two medians, which is what an aim is about.
        at_least: The aim, inclusive; None for none.
        at_most: The same from above.
        note: What the aim is made of, where it is not a number from the start.
    """

    to: str
    values: Values
    of_medians: float
    at_least: float | None = None
    at_most: float | None = None
    note: str | None = None

    @property
    def aim(self) -> str:
        """The aim in words; empty for none."""
        bounds = [
            f"{words} {bound:.3g}"
            for words, bound in (("at least", self.at_least), ("at most", self.at_most))
            if bound is not None
        ]
        return " and ".join(bounds)

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met; None when there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        enough = self.at_least is None or self.of_medians >= self.at_least
        return enough and (self.at_most is None or self.of_medians <= self.at_most)


class Figure(BaseModel):
    """Something that was measured once in each run.

    Attributes:
        name: What it is called in JSON, and in pages: words with hyphens.
        says: What it is, in words.
        unit: What the values are in.
        values: One a run, in order.
        events: How many events each took; None where that says nothing.
        ratio: How it stands to another figure; None for none.
        at_most: The aim of the median, inclusive; None for none.
    """

    name: str
    says: str
    unit: Unit = "s"
    values: Values
    events: int | None = None
    ratio: Ratio | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.values)

    @property
    def events_per_second(self) -> float | None:
        """Of the median; None where it says nothing."""
        if self.events is None or self.unit != "s":
            return None
        return self.events / self.median

    @property
    def spread(self) -> float:
        """The widest distance between two runs, relative to the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    @property
    def is_met(self) -> bool | None:
        """Whether its aim is met, and its ratio's; None when there is none."""
        met = None if self.at_most is None else self.median <= self.at_most
        ratio = self.ratio.is_met if self.ratio is not None else None
        told = [one for one in (met, ratio) if one is not None]
        return all(told) if told else None


class Part(BaseModel):
    """What one bench has measured, on one stack of servers.

    Attributes:
        name: The bench.
        events: How many events it was given.
        figures: What it has measured.
        differing_rows: Rows that are not what the same events make by another way, over all runs.
        seconds: How long it took, seeding included; set by whoever starts it.
    """

    name: str
    events: int
    figures: list[Figure]
    differing_rows: int
    seconds: float = 0.0


def against(
    figure: Figure,
    other: Figure,
    *,
    speed: bool = True,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str | None = None,
) -> Figure:
    """The figure with its ratio to another one.

    Args:
        figure: What was measured.
        other: What it is compared with, in the same runs.
        speed: Whether more is better: how many times as fast it is as the other one, for as many
            events. Else how many times as long it takes.
        at_least: The aim.
        at_most: The aim.
        note: What the aim is made of.
    """

    def ratio(own: float, others: float) -> float:
        per = (
            (own / (figure.events or 1)) / (others / (other.events or 1)) if speed else own / others
        )
        return 1 / per if speed else per

    values = [ratio(a, b) for a, b in zip(figure.values, other.values, strict=True)]
    made = Ratio(
        to=other.name,
        values=values,
        of_medians=ratio(figure.median, other.median),
        at_least=at_least,
        at_most=at_most,
        note=note,
    )
    return figure.model_copy(update={"ratio": made})


def arguments_of(what: str | None, *, events: int, runs: int = 3) -> ArgumentParser:
    """The options that all measured benches have.

    Args:
        what: The module's docstring.
        events: How many events it takes when nobody says otherwise.
        runs: How often it measures then.
    """
    parser = ArgumentParser(description=what.splitlines()[0] if what else None)
    parser.add_argument("--events", type=int, default=events)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--port-base", type=int, help="ports N to N + 2; else free ones")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser


def told(part: Part, file: Path | None) -> bool:
    """Prints a part's figures, writes them if a file is given; whether no row differs."""
    for line in lines(part):
        print(line)
    if file is not None:
        file.write_text(part.model_dump_json(indent=1))
    return part.differing_rows == 0


def lines(part: Part) -> list[str]:
    """A part's figures for a terminal."""
    said = [line_of(figure) for figure in part.figures]
    return [*said, f"rows that differ from what they should be: {part.differing_rows}"]


def line_of(figure: Figure) -> str:
    """A figure in a line: median, rate, spread, ratio, aim."""
    words = [f"{figure.says:<58}", amount(figure.median, figure.unit)]
    if figure.events_per_second is not None:
        words.append(f"{figure.events_per_second:,.0f} events/s")
    if len(figure.values) > 1:
        words.append(f"±{50 * figure.spread:.0f} %")
    if figure.ratio is not None:
        words.append(f"{figure.ratio.of_medians:.3g} of {figure.ratio.to}")
        if figure.ratio.aim:
            words.append(f"(aim: {figure.ratio.aim})")
    if figure.at_most is not None:
        words.append(f"(aim: at most {amount(figure.at_most, figure.unit)})")
    if figure.is_met is False:
        words.append("MISSED")
    return "  ".join(words)


def amount(value: float, unit: str) -> str:
    """A value with its unit, in as many digits as say something."""
    digits = 0 if abs(value) >= 100 or unit in ("events", "segments", "executions", "bytes") else 2
    return f"{value:,.{digits}f} {unit}"
