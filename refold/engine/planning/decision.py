"""How a backfill is carried out: by which version, in place or atomic, all keys or some."""

from __future__ import annotations

from dataclasses import dataclass, replace

from refold.engine.planning.key_selection import wants_keys
from refold.errors import InvalidRequest
from refold.messages.run.life import BeginRun
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.requests.criteria import Criteria, Selecting
from refold.requests.runs import BackfillRequest
from refold.store.generations import Generation


@dataclass
class Way:
    """How a request is carried out.

    Attributes:
        projection: The version that folds.
        asked: What is to be repaired.
        atomic: Whether a new table is built, or the live one repaired in place.
        some_keys: Whether only some keys are repaired.
        follows_only: Whether no key is refolded.
        note: Why it is done otherwise than one might expect.
    """

    projection: Projection
    asked: Selecting
    atomic: bool
    some_keys: bool = False
    follows_only: bool = False
    note: str | None = None

    def with_nothing_selected(self) -> Way:
        """The same way for a selection that names no key: nothing is built aside for it."""
        note = "the criteria select no event that this projection reads: nothing to repair"
        return replace(self, atomic=False, some_keys=False, follows_only=True, note=note)


def require_rebuild(begin: BeginRun, active: Generation) -> None:
    """Handles a live table that somebody has dropped: it can only be built anew.

    Raises:
        InvalidRequest: The request is to repair the table in place.
    """
    if not begin.atomic:
        raise InvalidRequest(
            f"projection {active.projection!r}: expected its live table to be there, it has been "
            "dropped: start a Rebuild"
        )


def decide(begin: BeginRun, registry: Registry, active: Generation | None) -> Way:
    """Decides which version folds, in place or atomic; a note says when that was not asked for.

    Raises:
        UnknownProjection: The request names none that is registered.
        InvalidRequest: It cannot be carried out on what there is.
    """
    request, name = begin.request, begin.request.projection
    newest = registry.get(name)
    asked = request.effective(newest.backfill, atomic=begin.kind == "Rebuild")
    incremental = asked.criteria is Criteria.INCREMENTAL_UPDATE
    some = wants_keys(asked, request.tenant)
    if incremental and begin.atomic:
        raise InvalidRequest(
            "criteria: expected any but incremental_update for an atomic run, which brings its "
            "table up to date anyway: leave is_atomic out to bring the live table up to date"
        )
    if begin.atomic and request.as_of is not None:
        _require_reached(request.as_of, name, active)
        note = f"as of position {request.as_of}: it goes live without the events since"
        return Way(newest, asked, atomic=True, note=note)
    if begin.atomic and not some:
        return Way(newest, asked, atomic=True)
    if not begin.atomic:
        request.require_fitting(atomic=False)
    if request.create_backup and newest.backfill.retained_generations == 0:
        raise InvalidRequest(
            "create_backup: expected a projection that keeps replaced generations, its "
            "retained_generations is 0: raise it, or leave create_backup out"
        )
    if active is None:
        note = "there is nothing to repair yet: built in a new table, swapped in"
        return Way(newest, asked, atomic=True, note=note)
    live = registry.version(name, active.version)
    if live is None:
        known = ", ".join(str(version) for version in registry.versions(name))
        raise InvalidRequest(
            f"projection {name!r}: the active generation was built by version {active.version}, "
            f"registered is version {known}: start a Rebuild"
        )
    if live.key_paths is None and not incremental:
        note = (
            "its key is a function and cannot be selected in SQL: built in a new table, swapped in"
        )
        if some:
            note = (
                "its key is a function and cannot be selected in SQL: all keys are built in a new "
                "table"
            )
        return Way(live, asked, atomic=True, note=note)
    return Way(live, asked, atomic=begin.atomic, some_keys=some, follows_only=incremental)


def _require_reached(as_of: int, name: str, active: Generation | None) -> None:
    """Requires that a checkpoint is set back, not ahead: followers go on from there."""
    if active is None or active.position is None:
        raise InvalidRequest(
            f"as_of: expected a read model with a checkpoint, {name!r} has none yet: start a "
            "Rebuild without as_of"
        )
    if as_of > active.position:
        raise InvalidRequest(
            f"as_of: expected at most the checkpoint of {name!r}, {active.position}, got {as_of}"
        )


def refolded_to(way: Way, active: Generation | None, head: int) -> int:
    """Up to where keys are refolded; from there on the generation is followed.

    A shadow is refolded to the live table's checkpoint, where the two are compared, or only to the
    position at which the request lets it end. When the live table is far behind, a shadow is
    refolded to the head instead, as following the rest would take longer.
    """
    live = active.position if active is not None else None
    if live is None:
        return head
    if way.atomic and not way.some_keys and 2 * live < head:
        return head
    return min(live, head)


def wants_backup(request: BackfillRequest, way: Way) -> bool:
    """Whether a copy is kept of what stands there before it is repaired in place."""
    return not way.atomic and bool(request.create_backup or request.rollback_on_failure)
