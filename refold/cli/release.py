"""release: ends the run of an installation that is gone, which frees the projection."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.runs.requests import RequestedBy
from refold.errors import InvalidRequest
from refold.runtime.database import make_engine
from refold.runtime.settings import load_settings
from refold.store import leases
from refold.store.leases import Lease
from refold.store.migrate import require_migrated

_DEFAULT_REQUESTER = "refold release"


def release(
    name: Name,
    *,
    run: Annotated[str, typer.Option(help="The id of the run to end; error messages name it.")],
    requested_by: RequestedBy = None,
    json: Json = False,
) -> None:
    """End the run of an installation that is gone for good.

    What it was building is removed.
    """
    told = finished(_release(name, run, requested_by or _DEFAULT_REQUESTER))
    if json:
        print_json(told)
        return
    console.print(
        f"run {told['run_id']} is released: a worker ends it within {told['within_seconds']:.0f} s"
    )


async def _release(name: str, run_id: str, released_by: str) -> dict[str, Any]:
    engine = make_engine(load_settings(), activities=0)
    try:
        await require_migrated(engine)
        async with engine.begin() as connection:
            lease = await leases.holder(connection, name)
            _require_silent(name, run_id, lease)
            await leases.give_away(connection, name, run_id, released_by=released_by)
    finally:
        await engine.dispose()
    return {"projection": name, "run_id": run_id, "within_seconds": leases.RENEWED_SECONDS}


def _require_silent(name: str, run_id: str, lease: Lease | None) -> None:
    if lease is None:
        raise InvalidRequest(
            f"projection {name!r}: expected one that a run holds, none does: there is nothing to "
            "release"
        )
    if lease.run_id != run_id:
        raise InvalidRequest(
            f"run: expected the one that holds {name!r}, {lease.run_id} of workflow "
            f"{lease.workflow_id!r}, namespace {lease.namespace!r}, got {run_id!r}; name that run "
            "if its installation is gone"
        )
    if not lease.silent:
        raise InvalidRequest(
            f"run: expected one that has been silent for {leases.SILENCE_SECONDS:.0f} s, this one "
            f"of namespace {lease.namespace!r} showed itself {lease.idle_seconds:.0f} s ago: a "
            f"worker there looks after it; cancel workflow {lease.workflow_id!r} there"
        )
