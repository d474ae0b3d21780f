"""What a projection needs of the event source."""

from __future__ import annotations

from collections.abc import Iterable

from refold.errors import ConfigurationError
from refold.projection.declaration import Projection
from refold.projection.keys.dates import RECORDED_AT
from refold.projection.keys.part import paths_read
from refold.projection.sql.declaration import SqlProjection
from refold.source.port.elsewhere import is_elsewhere
from refold.source.port.event_source import EventSource


def require_keys_seen(source: EventSource, projections: Iterable[Projection]) -> None:
    """Requires that SQL can see what projections ask of it: their keys, and where they begin.

    Args:
        source: The event source.
        projections: All that are registered.

    Raises:
        ConfigurationError: The key of one is a path into data that is decoded in Python, or it
            begins at a date that SQL does not know.
    """
    for projection in projections:
        paths = paths_read(projection.key_paths or ())
        hidden = [path for path in paths if path.startswith("data.") and not source.sees_data]
        if hidden:
            raise ConfigurationError(
                f"{projection.name}: key: expected paths that SQL can see, got {hidden[0]!r}, and "
                f"the data of {source!r} is decoded in Python: take stream_id or a path into "
                "metadata, or a key function, with which rebuilds follow events one by one"
            )
        if RECORDED_AT in paths and not source.has_times:
            raise ConfigurationError(
                f"{projection.name}: key: expected events with a time, and {source!r} has no "
                "column that says when they were recorded: give it `recorded_at`, or take a path "
                "into data or metadata"
            )
        _require_columns(source, projection)
        if projection.start_from is not None and not source.has_times:
            raise ConfigurationError(
                f"{projection.name}: start_from: expected events with a time, and {source!r} has "
                "no column that says when they were recorded: give it `recorded_at`"
            )


def _require_columns(source: EventSource, projection: Projection) -> None:
    """Requires that SQL sees the columns which a select looks at."""
    if not isinstance(projection, SqlProjection):
        return
    if is_elsewhere():
        raise ConfigurationError(
            f"{projection.name}: select: expected events in the database of the read models, as "
            "one statement makes rows of events, got REFOLD_EVENTS_URL: say it with handlers, as a "
            "Projection, or copy the events there (docs/mirror.md)"
        )
    if "data" in projection.columns_used and not source.sees_data:
        raise ConfigurationError(
            f"{projection.name}: select: expected data that SQL can see, and the data of "
            f"{source!r} is decoded in Python: say it with handlers, as a Projection"
        )
    if "recorded_at" in projection.columns_used and not source.has_times:
        raise ConfigurationError(
            f"{projection.name}: select: expected events with a time, and {source!r} has no column "
            "that says when they were recorded: give it `recorded_at`"
        )
