"""All benches one after another, each a process with a stack of its own; one table, and JSON.

Each bench measures what it is about beside its own limit, in turn, so that their ratio says
something on any machine; the rows of every run are compared with those that one statement, or a
hand-written loop, makes of the same events.

    make bench                              a million events, five times each: a quarter of an hour
    python -m bench.all --events 10000000   what grows with the events, three times each: an hour
    python -m bench.all --events 20000 --runs 1 --only rebuild,sql
    python -m bench.page                    puts the results into docs/performance.md

Results are written to `bench/results/`, after each bench. It exits with 1 when a bench has failed
or rows differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.all.parts import parts
from bench.all.report import LARGE, RESULTS, Report
from bench.measuring.figures import Part, lines

# One that hangs must not take the figures of the others with it.
_LONGEST_SECONDS = 3 * 3600


def run(module: str, arguments: list[str], port_base: int | None) -> Part | None:
    """Runs a bench as a process; None when it did not come to its end."""
    if port_base is not None:
        arguments = [*arguments, "--port-base", str(port_base)]
    with tempfile.TemporaryDirectory(prefix="refold-figures-") as directory:
        file = Path(directory) / "figures.json"
        began = time.perf_counter()
        command = [sys.executable, "-m", module, *arguments, "--json", str(file)]
        try:
            subprocess.run(command, check=False, timeout=_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{module}: given up after {_LONGEST_SECONDS // 3600} hours", flush=True)
        if not file.exists():
            return None
        part = Part.model_validate_json(file.read_text())
    return part.model_copy(update={"seconds": round(time.perf_counter() - began, 1)})


def main() -> None:
    """Runs all benches, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument(
        "--runs", type=int, help=f"how often; else 5 times, from {LARGE:,} events on 3"
    )
    parser.add_argument("--only", default="", help="benches, such as rebuild,sql; else all")
    parser.add_argument("--port-base", type=int, help="ports N to N + 2; else free ones")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where JSON is written to")
    given = parser.parse_args()
    runs = given.runs or (3 if given.events >= LARGE else 5)
    chosen = {f"bench.{name}" for name in given.only.split(",") if name}
    known = parts(given.events, runs)
    if not chosen <= known.keys():
        parser.error(f"--only: expected some of {', '.join(known)}, got {given.only}")
    report = Report.begun(given.events, runs)
    print(f"on {report.machine}", flush=True)
    for module, arguments in known.items():
        if chosen and module not in chosen:
            continue
        print(f"\n== {module} {' '.join(arguments)}", flush=True)
        part = run(module, arguments, given.port_base)
        if part is None:
            report.failed.append(module)
        else:
            report.parts.append(part)
        report.write(given.results)
    print(f"\nAll of it: {given.events:,} events, medians of {runs}, on {report.machine}\n")
    for part in report.parts:
        print("\n".join(lines(part)), end=f"\n{part.name} took {part.seconds:.0f} s\n\n")
    if report.failed:
        print(f"failed, and say why above: {', '.join(report.failed)}")
    print(f"written to {given.results / report.file}")
    raise SystemExit(0 if report.is_right else 1)


if __name__ == "__main__":
    main()
