"""Puts what was measured into docs/performance.md, and draws its picture.

It takes the results of `make bench` and of the large run, if there is one, from `bench/results/`,
keeps them in `docs/measured/`, and writes anew what stands in the page between its marks. Without
results it writes the page of those that are kept.

    make page
    python -m bench.page --check       whether page and picture are those of the kept results

Results of which a bench has failed, or rows differ, are refused.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bench.all.parts import parts
from bench.all.report import RESULTS, Report
from bench.page.picture import draw
from bench.page.tables import places

DOCS = Path(__file__).parents[2] / "docs"
MEASURED = "measured"
_LEAST_EVENTS = 1_000_000
_PLACE = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


class NothingMeasured(Exception):
    """There are no results of a run of all benches, or they are not right."""


def take(results: Path, measured: Path, *, anyway: bool = False) -> None:
    """Keeps results that are newer than those that are kept, if they are right.

    Args:
        results: Where they are.
        measured: Where they are kept.
        anyway: Take those of few events, or of some of the benches, too.

    Raises:
        NothingMeasured: They are not right.
    """
    for name in ("main.json", "large.json"):
        file = results / name
        report = Report.read(file)
        kept = Report.read(measured / name)
        if report is None or (kept is not None and kept.began >= report.began):
            continue
        if not report.is_right:
            raise NothingMeasured(
                f"{file}: expected all benches to end, and no row to differ, got "
                f"{report.differing_rows} rows and failures of {report.failed}: run it again"
            )
        whole = len(report.parts) == len(parts(report.events, report.runs))
        if not anyway and (not whole or report.events < _LEAST_EVENTS):
            raise NothingMeasured(
                f"{file}: expected all benches of {_LEAST_EVENTS:,} events or more, got "
                f"{len(report.parts)} of {report.events:,}: run `make bench`, or say --anyway"
            )
        report.write(measured)


def written(page: str, measured: Path) -> tuple[str, str]:
    """The page with the kept figures, and the picture.

    Args:
        page: The page as it is.
        measured: Where results are kept.

    Raises:
        NothingMeasured: No results are kept, or the page has a mark that has no figures.
    """
    main = Report.read(measured / "main.json")
    if main is None:
        raise NothingMeasured(f"{measured}: expected main.json: run `make bench` first")
    texts = places(main, Report.read(measured / "large.json"))

    def put(mark: re.Match[str]) -> str:
        if mark[2] not in texts:
            raise NothingMeasured(f"expected one of {', '.join(texts)}, got {mark[2]!r}")
        return f"{mark[1]}\n{texts[mark[2]]}\n\n{mark[3]}"

    return _PLACE.sub(put, page), draw(main)


def main() -> None:
    """Writes page and picture, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where new results are")
    parser.add_argument("--into", type=Path, default=DOCS, help="the folder of the page")
    parser.add_argument("--anyway", action="store_true", help="take small results, too")
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args()
    page, picture = given.into / "performance.md", given.into / "pictures/performance.svg"
    try:
        if not given.check:
            take(given.results, given.into / MEASURED, anyway=given.anyway)
        text = (page if page.exists() else DOCS / "performance.md").read_text()
        text, svg = written(text, given.into / MEASURED)
    except NothingMeasured as error:
        parser.exit(1, f"{error}\n")
    if given.check:
        same = page.read_text() == text and picture.read_text() == svg
        parser.exit(0 if same else 1, "up to date\n" if same else "run `make page`\n")
    picture.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)
    picture.write_text(svg)
    print(f"written: {page}, {picture}")


if __name__ == "__main__":
    main()
