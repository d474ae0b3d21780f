"""The options that say what a backfill or rebuild is asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from refold.errors import InvalidRequest
from refold.requests import Approval, BackfillRequest, accept_request

BatchSize = Annotated[int | None, typer.Option(min=1, max=100_000, help="Events a transaction.")]
Concurrency = Annotated[int | None, typer.Option(min=1, max=64, help="Partitions at a time.")]
Approve = Annotated[
    Approval | None, typer.Option("--approval", help="Who lets the new table go live.")
]
MaxChangedPercent = Annotated[
    float | None,
    typer.Option(min=0, help="Await approval if more of the live rows change, in percent."),
]
MaxRemovedRows = Annotated[
    int | None, typer.Option(min=0, help="Await approval if more live rows are removed.")
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Say what would be done; do nothing.")]
Detach = Annotated[bool, typer.Option("--detach", help="Start it and return at once.")]
RequestedBy = Annotated[str | None, typer.Option(help="Who asks, for the record.")]


def backfill_request(**fields: object) -> BackfillRequest:
    """The request that these options make; left out or False is left to the defaults."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return accept_request([given], BackfillRequest)
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None
