"""What all benches have measured together, on which machine, and when."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import BaseModel

from bench.measuring.figures import Figure, Part

RESULTS = Path("bench/results")
"""Where results are kept that are nobody's yet: git ignores it."""

LARGE = 5_000_000
"""From so many events on it is a large run, of what grows with the events only."""

# A machine on which more is under way than this says little of time.
_QUIET = 0.7


class Machine(BaseModel):
    """Where it was measured.

    Attributes:
        cores: Processors, shared by all there is: workers, PostgreSQL, Temporal, the bench.
        gibibytes: Memory.
        python: Python's version.
        load: How many processes were under way before it began, on average over a minute.
    """

    cores: int
    gibibytes: int
    python: str
    load: float

    @classmethod
    def here(cls) -> Machine:
        """This machine, now."""
        return cls(
            cores=len(os.sched_getaffinity(0)),
            gibibytes=round(psutil.virtual_memory().total / 2**30),
            python=platform.python_version(),
            load=round(os.getloadavg()[0], 2),
        )

    def __str__(self) -> str:
        cores = f"{self.cores} cores that workers, PostgreSQL and Temporal share"
        quiet = "" if self.is_quiet else f"; others were at work there, {self.load:g} processes"
        return f"{cores}, {self.gibibytes} GiB, Python {self.python}{quiet}"

    @property
    def is_quiet(self) -> bool:
        """Whether it had little else to do."""
        return self.load <= _QUIET


class Report(BaseModel):
    """One run of all benches.

    Attributes:
        began: When.
        machine: Where.
        events: How many events it was asked for.
        runs: How often each figure was measured.
        parts: What each bench has measured.
        failed: Benches that did not come to their end.
    """

    began: datetime
    machine: Machine
    events: int
    runs: int
    parts: list[Part] = []
    failed: list[str] = []

    @classmethod
    def begun(cls, events: int, runs: int) -> Report:
        """One that has measured nothing yet."""
        return cls(began=datetime.now(UTC), machine=Machine.here(), events=events, runs=runs)

    @property
    def is_large(self) -> bool:
        """Whether it is of so many events that only what grows with them was measured."""
        return self.events >= LARGE

    @property
    def file(self) -> str:
        """The name of the file that it is kept in."""
        return "large.json" if self.is_large else "main.json"

    @property
    def differing_rows(self) -> int:
        """Rows that are not what they should be, in all of it."""
        return sum(part.differing_rows for part in self.parts)

    @property
    def is_right(self) -> bool:
        """Whether all came to their end, and no row differs."""
        return not self.failed and not self.differing_rows

    def find(self, name: str) -> Figure | None:
        """A figure by its name; None when it was not measured."""
        figures = [figure for part in self.parts for figure in part.figures]
        return next((figure for figure in figures if figure.name == name), None)

    def write(self, folder: Path) -> Path:
        """Writes it as JSON; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / self.file
        draft = file.with_suffix(".new")
        draft.write_text(self.model_dump_json(indent=1) + "\n")
        draft.replace(file)
        return file

    @classmethod
    def read(cls, file: Path) -> Report | None:
        """Reads one; None when there is none."""
        return cls.model_validate_json(file.read_text()) if file.exists() else None
