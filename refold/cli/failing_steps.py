"""Which steps of projections fail, as their workflows know it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from temporalio.service import RPCError

from refold.cli.following import make_manager
from refold.cli.output import errors
from refold.errors import RefoldError
from refold.step_failure import StepFailure

# What the database knows is shown without Temporal, too.
_SECONDS = 15.0


async def failing_steps(held_by: Mapping[str, str | None]) -> dict[str, list[StepFailure]]:
    """The steps that fail and are tried again, by projection; says so if Temporal is away.

    Args:
        held_by: The workflow id of the run that holds each projection, if one does.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            manager = await make_manager()
            asked = [manager.get_failing_steps(name, run) for name, run in held_by.items()]
            found = await asyncio.gather(*asked)
    except (RefoldError, RPCError, TimeoutError) as error:
        errors.print(f"refold: whether steps fail is not known: {error or 'no answer in time'}")
        return {name: [] for name in held_by}
    return dict(zip(held_by, found, strict=True))
