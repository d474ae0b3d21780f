"""Says when a command reads other events than the workers do."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from refold.cli.output import errors

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


async def tell_if_other_events(engine: AsyncEngine | None = None) -> None:
    """Says on standard error where the workers read events, if this process reads elsewhere.

    A database that does not answer, or whose schema is older, is for others to tell.

    Args:
        engine: The database; that of the settings, if there is one, when left out.
    """
    # Those who read the module need none of it before they ask.
    from refold.runtime.database import DATABASE_ERRORS, autocommit, make_engine
    from refold.runtime.settings import load_settings
    from refold.source.port.elsewhere import source_in_words
    from refold.store import deployments

    settings = load_settings()
    if engine is None and not settings.database_url:
        return
    asked = engine or make_engine(settings, activities=0)
    theirs: list[str] = []
    try:
        with contextlib.suppress(*DATABASE_ERRORS):
            looking = autocommit(asked)
            async with looking.connect() as connection:
                theirs = await deployments.sources(connection)
    finally:
        if engine is None:
            await asked.dispose()
    own = source_in_words()
    if theirs and own not in theirs:
        errors.print(
            f"the workers read events from {' or '.join(theirs)}, this command from {own}: what it "
            "says of events is not theirs; set REFOLD_EVENTS and REFOLD_EVENTS_URL as they have "
            "them",
            soft_wrap=True,
        )
