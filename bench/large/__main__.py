"""Rebuilds of what is larger than a worker's memory, which is to stay flat.

    make large                 all of it, once
    python -m bench.large keys one
    python -m bench.large --share 0.01

Each is rebuilt by a worker process of its own, through the real workflow; its rows are compared
with what one statement of SQL makes of the same events.
"""

from __future__ import annotations

import argparse

from bench.large.cases import CASES
from bench.large.measure import LIMIT_MEBIBYTES, measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="all when left out")
    parser.add_argument("--share", type=float, default=1.0, help="of the events of each")
    arguments = parser.parse_args()
    right = True
    for name in arguments.cases or CASES:
        case = CASES[name]
        found = measured(case, arguments.share)
        print(
            f"{case.what}: {found.events:,} events, {found.rows:,} rows in {found.seconds:.1f} s, "
            f"{found.events / found.seconds:,.0f} events/s; worker's peak {found.peak:.0f} MiB "
            f"(aim: below {LIMIT_MEBIBYTES}); {found.different} rows differ",
            flush=True,
        )
        right = right and found.is_right
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
