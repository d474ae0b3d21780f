"""explain: shows each event of a key, with the row before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refold.cli.output import Json, Name, console, finished, print_json
from refold.cli.rows.values import text_of, values_of
from refold.cli.runs.follow import make_manager
from refold.cli.status.other_events import tell_if_other_events
from refold.errors import InvalidRequest
from refold.event import Event
from refold.projection.declaration import Projection, Row
from refold.projection.registry import Registry
from refold.projection.typed_key import typed_key
from refold.runtime.settings import load_settings

if TYPE_CHECKING:
    from refold.manager.rows.explanation import Explanation
    from refold.source.stepwise.row_life import RowLife, Step

Keys = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY...", help="The row's key: a value for each key column.", show_default=False
    ),
]


def explain(
    name: Name,
    key: Keys,
    *,
    version: Annotated[
        int | None, typer.Option(min=1, help="Whose handlers fold; the highest if left out.")
    ] = None,
    against: Annotated[
        int | None, typer.Option(min=1, help="Another version, to compare with.")
    ] = None,
    after: Annotated[
        int | None, typer.Option(help="Only events after this position; the others are folded.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many events to show.")] = 50,
    json: Json = False,
) -> None:
    """Show why a row is as it is.

    Every event of its key, with the row before and after.
    """

    async def look() -> Explanation:
        registry = load_settings().registry()
        projection = version_of(registry, name, version)
        await tell_if_other_events()
        return await (await make_manager()).explain(
            projection,
            typed_key(projection, key),
            against=None if against is None else version_of(registry, name, against),
            after=after,
            limit=limit,
        )

    told = finished(look())
    if json:
        print_json(_as_json(told))
        return
    for line in _lines(told):
        console.print(line, soft_wrap=True)


def version_of(registry: Registry, name: str, version: int | None) -> Projection:
    """A registered version of a projection; the highest when none is named.

    Raises:
        InvalidRequest: It is not registered.
        UnknownProjection: There is no projection of that name.
    """
    projection = registry.get(name) if version is None else registry.version(name, version)
    if projection is None:
        known = ", ".join(map(str, registry.versions(name)))
        raise InvalidRequest(
            f"version of {name!r}: expected one that is registered ({known}), got {version}"
        )
    return projection


def _lines(told: Explanation) -> Iterator[str]:
    versions = ", ".join(str(life.version) for life in told.lives)
    yield f"{told.projection} {values_of(told.key)}, version {versions}"
    several = len(told.lives) > 1
    for position in sorted({step.event.position for life in told.lives for step in life.steps}):
        found = [(life.version, _step_at(life, position)) for life in told.lives]
        yield _event_line(next(step.event for _, step in found if step is not None))
        for version, step in found:
            label = f"v{version}: " if several else ""
            yield f"      {label}{'does not read it' if step is None else _changed(step, told.key)}"
    if not any(life.steps for life in told.lives):
        yield "  no event"
    for life in told.lives:
        label = f"version {life.version}: " if several else ""
        if not life.is_whole:
            yield f"{label}there are more events: --after {life.position}"
        elif life.steps:
            yield f"{label}now: {_row(life.row, told.key)}"
    yield seen_text(told)
    for letter in told.letters:
        yield f"held by dead letter {letter.id}, event {letter.position}: {letter.error}"


def _step_at(life: RowLife, position: int) -> Step | None:
    return next((step for step in life.steps if step.event.position == position), None)


def _event_line(event: Event) -> str:
    at = f"{event.recorded_at:%Y-%m-%d %H:%M:%S}"
    return f"  {event.position:,} {event.type}, {event.stream_id} {event.version}, {at}"


def _changed(step: Step, key: Row) -> str:
    if step.error is not None:
        return step.error
    before, after = step.before, step.after
    if before is None or after is None:
        return f"{_row(before, key)} → {_row(after, key)}"
    changes = [
        f"{name} {text_of(before.get(name))} → {text_of(value)}"
        for name, value in after.items()
        if before.get(name) != value
    ]
    return ", ".join(changes) or "no change"


def _row(row: Row | None, key: Row) -> str:
    if row is None:
        return "no row"
    return values_of({name: value for name, value in row.items() if name not in key}) or "a row"


def seen_text(told: Explanation) -> str:
    """What readers see of the row, and whether it is what its events make of it."""
    if told.generation is None:
        return f"readers see nothing yet: `refold rebuild {told.projection}` builds it"
    where = f"generation {told.generation}, built by version {told.built_by}"
    if told.position is not None:
        where += f", at position {told.position:,}"
    if told.built_by not in [life.version for life in told.lives]:
        return f"readers see {where}"
    seen = f"readers see {_row(told.row, told.key)} ({where})"
    if told.is_right is None:
        return seen
    if told.is_right:
        return f"{seen}: as folded"
    return (
        f"{seen}: not what its events make of it; `refold backfill {told.projection} --full` "
        "puts rows right"
    )


def _as_json(told: Explanation) -> dict[str, Any]:
    return {
        "projection": told.projection,
        "key": told.key,
        "versions": [
            {
                "version": life.version,
                "events": [
                    {
                        "event": step.event._asdict(),
                        "before": step.before,
                        "after": step.after,
                        "error": step.error,
                    }
                    for step in life.steps
                ],
                "row": life.row,
                "more_after": None if life.is_whole else life.position,
            }
            for life in told.lives
        ],
        "live": {
            "generation": told.generation,
            "version": told.built_by,
            "position": told.position,
            "row": told.row,
            "is_right": told.is_right,
        },
        "dead_letters": list(told.letters),
    }
