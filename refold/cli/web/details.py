"""What the page shows of one projection when it is opened: its copies, letters and the diff."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from refold.cli.generations import plain
from refold.cli.web.places import Places
from refold.errors import NoRun, TemporalUnreachable
from refold.messages.run.diff import Diff, headline, key_text, oracle_text, schema_changes, sides
from refold.messages.run.diff_values import text_of
from refold.projection.dead_letters import DeadLetter
from refold.runtime.database import autocommit
from refold.store import dead_letters, generations
from refold.store.generations import DISCARDED
from refold.store.snapshots import listing

_LETTERS = 50
"""So many dead letters are shown, the oldest."""


async def details(places: Places, name: str, *, control: bool) -> dict[str, Any]:
    """What is known of a projection beside its row.

    Args:
        places: Where to look.
        name: The projection.
        control: Whether event data are shown: rows of the diff, keys and errors of dead letters.

    Raises:
        UnknownProjection: There is no projection of that name.
    """
    projection = places.registry.get(name)
    looking = autocommit(places.engine)
    async with looking.connect() as connection:
        made = await generations.of_projection(connection, name)
        snapshots = await listing.newest_first(connection, name)
        active = await generations.active(connection, name)
        letters = []
        if active is not None:
            letters = await dead_letters.listed(connection, name, active.generation)
    diff = await _diff(places, name)
    return {
        "projection": name,
        "table": projection.table.fullname,
        "key": [str(column.name) for column in projection.table.primary_key.columns],
        "versions": places.registry.versions(name),
        "generations": [plain(one) for one in reversed(made) if one.status != DISCARDED],
        "snapshots": [one.model_dump(mode="json") for one in snapshots],
        "dead_letters": [_letter(one, control=control) for one in letters[:_LETTERS]],
        "diff": None if diff is None else shown_diff(diff, control=control),
    }


async def _diff(places: Places, name: str) -> Diff | None:
    try:
        return await (await places.manager()).get_diff(name)
    except (NoRun, TemporalUnreachable, RPCError, WorkflowQueryFailedError):
        return None  # the latest run is none that compares, or nobody answers for it


def shown_diff(diff: Diff, *, control: bool) -> dict[str, Any]:
    """A diff as the page shows it.

    Args:
        diff: The diff.
        control: Whether rows are shown.
    """
    return {
        "sides": sides(diff),
        "headline": headline(diff),
        "oracle": oracle_text(diff),
        "is_wrong": diff.folded_wrong > 0,
        "note": diff.note,
        "counts": {
            name: getattr(diff, name)
            for name in ("rows_live", "rows_shadow", "added", "removed", "changed", "unchanged")
        },
        "columns": [[text_of(one.column), one.rows] for one in diff.columns],
        "schema": [[what, text_of(column)] for what, column in schema_changes(diff)],
        "compared_at": diff.compared_at,
        "rows": list(_rows(diff)) if control else [],
        "rows_hidden": 0 if control else len(diff.samples) + len(diff.wrong),
    }


def _rows(diff: Diff) -> Iterator[dict[str, Any]]:
    for wrong in diff.wrong:
        yield {
            "kind": "wrong",
            "key": key_text(wrong.key),
            "heads": ["as its events say", "in the new table"],
            "columns": _pairs(wrong.expected, wrong.found),
        }
    for sample in diff.samples:
        yield {
            "kind": sample.kind,
            "key": key_text(sample.key),
            "heads": ["live", "new"],
            "columns": _pairs(sample.live, sample.shadow),
        }


def _pairs(left: dict[str, Any] | None, right: dict[str, Any] | None) -> list[list[str | None]]:
    """Columns with their value on either side; None where that side has no row."""
    names = left if left is not None else right or {}
    return [[text_of(name), _side(left, name), _side(right, name)] for name in names]


def _side(row: dict[str, Any] | None, name: str) -> str | None:
    return None if row is None or name not in row else text_of(row[name])


def _letter(letter: DeadLetter, *, control: bool) -> dict[str, Any]:
    names = ["id", "position", "type", "recorded_at"]
    if control:
        names += ["stream_id", "key", "error", "trace"]
    return letter.model_dump(mode="json", include={*names})
