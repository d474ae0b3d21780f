"""How mirrors are, as far as the database knows where Temporal does not answer."""

from __future__ import annotations

from contextlib import suppress

from refold.cli.runs.follow import make_manager
from refold.errors import TemporalUnreachable
from refold.manager.mirroring.health import MirrorHealth, judged
from refold.runtime.database import make_engine
from refold.runtime.settings import load_settings
from refold.store.mirrors import cursors


async def mirrors_of_all() -> list[MirrorHealth]:
    """All mirrors that were ever started."""
    with suppress(TemporalUnreachable):
        return await (await make_manager()).get_mirrors()
    engine = make_engine(load_settings(), activities=0)
    try:
        async with engine.connect() as connection:
            rows = await cursors.rows(connection)
    finally:
        await engine.dispose()
    return [judged(row, None, answers=False) for row in rows]
