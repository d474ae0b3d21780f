"""`given` and `assert_fold`: what a few events become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from refold.projection.columns import WrongValue
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.testing.events import GivenEvent, as_events
from refold.testing.rows import differences


def given(projection: Projection, *events: GivenEvent) -> dict[Key, Row]:
    """The rows of a projection after these events, by key: what its table would hold.

    Args:
        projection: The projection; one that is said in SQL needs PostgreSQL.
        events: In order. ``("order-1", "ItemAdded", {"sku": "tea"})`` is one, a fourth part is
            its metadata.

    Raises:
        PoisonEvent: A handler, or the key, cannot take an event.
        InvalidProjection: The projection is said in SQL.
        TypeError: Something is no event.
        ValueError: Positions do not ascend.
    """
    return projection.fold(as_events(projection, events))


def assert_fold(
    projection: Projection,
    events: Iterable[GivenEvent],
    rows: Mapping[Any, Mapping[str, Any] | None],
) -> None:
    """Asserts that these events become these rows, and no others.

    Args:
        projection: The projection.
        events: As for `given`.
        rows: By key (a tuple, if it is composite), written as a handler returns them: key columns
            may be left out, other columns that are left out have their default or None. None is
            for no row.

    Raises:
        AssertionError: The rows are others; the message has those that differ.
        ValueError: The table cannot hold a row that is expected.
        PoisonEvent: As from `given`, and so are other errors.
    """
    expected = {key: _settled(projection, key, row) for key, row in rows.items() if row is not None}
    wrong = differences(expected, given(projection, *events), "expected", "got")
    if wrong:
        raise AssertionError(f"{projection.name}: expected other rows:\n{wrong}")


def _settled(projection: Projection, key: Any, row: Mapping[str, Any]) -> Row:
    parts = len(key) if isinstance(key, tuple) else 1
    if parts != len(projection.key_columns):
        raise ValueError(
            f"rows: expected keys of {len(projection.key_columns)} part(s) "
            f"({', '.join(projection.key_columns)}), got {key!r}"
        )
    try:
        own = projection.rows.settled(None, dict(row), projection.rows.key_fields(key))
    except WrongValue as wrong:
        raise ValueError(f"rows: {key!r}: {wrong}") from None
    assert own is not None
    return own
