"""doctor: looks at a whole deployment, and says what is wrong and what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from refold.cli.doctor.finding import Finding, Level
from refold.cli.output import FAILED, Json, console, finished, print_json
from refold.runtime.settings import load_settings


def doctor(
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Show what is as it should be, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what is wrong in the deployment, and what to do.

    It looks at database, rights, events, Temporal and workers, and changes nothing. Exits with 1
    when something is wrong.
    """
    found = finished(_examined())
    counts = {level.name.lower(): sum(one.level is level for one in found) for level in Level}
    if json:
        print_json({"counts": counts, "findings": [asdict(one) for one in found]})
    else:
        for line in _told(found, every=every):
            console.print(line, soft_wrap=True)
    if counts["wrong"]:
        raise typer.Exit(FAILED)


async def _examined() -> list[Finding]:
    # Imported here: what workers are made of takes a while, and no other command needs it.
    from refold.cli.doctor.examination import examine
    from refold.cli.doctor.look import Look

    return await examine(Look(load_settings()))


def _told(found: list[Finding], *, every: bool) -> Iterator[str]:
    for level in (Level.WRONG, Level.MIND):
        for one in found:
            if one.level is level:
                remedy = f" → {one.remedy}" if one.remedy else ""
                yield f"{level}: {one.check}: {one.found}{remedy}"
    unseen = defaultdict(list)
    for one in found:
        if one.level is Level.UNSEEN:
            unseen[one.found].append(one.check)
    for why, checks in unseen.items():
        yield f"{Level.UNSEEN}: {', '.join(checks)}: {why}"
    fine = [one for one in found if one.level is Level.OK]
    if every:
        yield from (f"{Level.OK}: {one.check}: {one.found}" for one in fine)
    else:
        yield f"{len(fine)} ok" + (" (--all shows them)" if fine else "")
