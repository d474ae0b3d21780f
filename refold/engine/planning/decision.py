"""How a backfill is carried out: by which version, in place or atomic, all keys or some."""

from __future__ import annotations

from collections.abc import Callable

from refold.errors import InvalidRequest
from refold.messages.run.life import BeginRun
from refold.projection.backfill_policy import BackfillPolicy
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.requests.criteria import Criteria, CriteriaFields
from refold.requests.instants import PlainDate
from refold.requests.runs import BackfillRequest
from refold.store.generations import UNMANAGED, Generation


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


def as_declared(begin: BeginRun, registry: Registry) -> BackfillRequest:
    """The request with all that it leaves to others: its criteria, its way back, where it works.

    Criteria that it does not name are the projection's own. A `Rebuild` is full unless it says
    otherwise. A declared way back is for runs that repair keys.

    Raises:
        UnknownProjection: The request names none that is registered.
    """
    request, declared = begin.request, registry.get(begin.request.projection).backfill
    if request.criteria is not None:
        return _with_way_back(request.model_copy(update={"is_atomic": begin.atomic}), declared)
    full = begin.kind == "Rebuild" or request.as_of is not None or declared.criteria is None
    said = CriteriaFields(criteria=Criteria.FULL_REBUILD) if full else declared
    fields = {name: getattr(said, name) for name in CriteriaFields.model_fields}
    asked = request.model_copy(update={**fields, "is_atomic": begin.atomic})
    return _with_way_back(asked, declared)


def _with_way_back(request: BackfillRequest, declared: BackfillPolicy) -> BackfillRequest:
    if follows_only(request):
        return request
    left_out = {
        name: getattr(declared, name)
        for name in ("rollback_on_failure", "create_backup")
        if getattr(request, name) is None
    }
    return request.model_copy(update=left_out)


def wants_keys(request: BackfillRequest) -> bool:
    """Whether some keys are repaired rather than all."""
    assert request.criteria is not None
    return request.criteria.selects or request.tenant is not None or bool(request.missing)


def follows_only(request: BackfillRequest) -> bool:
    """Whether no key is refolded."""
    return request.criteria is Criteria.INCREMENTAL_UPDATE and not request.missing


def wants_backup(request: BackfillRequest) -> bool:
    """Whether a copy is kept of what stands there before it is repaired in place."""
    return not request.is_atomic and bool(request.create_backup or request.rollback_on_failure)


def for_no_keys(request: BackfillRequest, given: BackfillRequest) -> BackfillRequest:
    """The same request when it selects no key: nothing is built aside for it.

    It has no way back but one that was asked for as the request was `given`.
    """
    nothing = {"criteria": Criteria.INCREMENTAL_UPDATE, "tenant": None, "is_atomic": False}
    way_back = {
        "rollback_on_failure": given.rollback_on_failure,
        "create_backup": given.create_backup,
    }
    return request.model_copy(update={**nothing, **way_back, "missing": None})


def note_of_no_keys(request: BackfillRequest) -> str:
    """Why it repairs nothing."""
    if request.missing:
        return "no key that has events lacks its row: only new events are applied"
    return "the criteria select no event that this projection reads: nothing to repair"


def note_of_no_way_back(
    registry: Registry, projection: Projection, active: Generation | None
) -> str | None:
    """Why a rollback from the new table cannot apply the events since; None when it can.

    A rollback follows the log by the version that built what it goes back to, so that version must
    still be there.
    """
    if active is None or active.version in (UNMANAGED, projection.version):
        return None
    if not projection.backfill.enable_rollback:
        return None
    if registry.version(projection.name, active.version) is not None:
        return None
    return (
        f"what readers query now was built by version {active.version}, which is not registered: a "
        f"rollback to it cannot apply the events since; keep version {active.version} registered "
        f"beside version {projection.version} while you may want it back"
    )


def note_of_unknown_keys(request: BackfillRequest) -> str:
    """What a plan cannot say before keys are computed."""
    which = "which keys are repaired" if wants_keys(request) else "how many keys there are"
    return (
        "its key is a function: the keys of all these events are computed first, and then it is "
        f"known {which}, in how many partitions"
    )


def without_idle_dates(request: BackfillRequest) -> BackfillRequest:
    """The same request without dates that select nothing."""
    if request.criteria is not Criteria.FULL_REBUILD:
        return request
    return request.model_copy(update={"from_date": None, "to_date": None})


def note_of_dates(request: BackfillRequest) -> str | None:
    """What is to be said of a request's dates; None for nothing."""
    given = {"from_date": request.from_date, "to_date": request.to_date}
    named = [name for name, date in given.items() if date is not None]
    if named and request.criteria is Criteria.FULL_REBUILD:
        select = "selects" if len(named) == 1 else "select"
        return f"a full rebuild folds every key: {' and '.join(named)} {select} nothing further"
    plain = [
        f"{name} {date:%Y-%m-%d} is midnight UTC"
        for name, date in given.items()
        if isinstance(date, PlainDate)
    ]
    return "; ".join(plain) or None


def _for_all_keys(request: BackfillRequest) -> BackfillRequest:
    everything = {"criteria": Criteria.FULL_REBUILD, "tenant": None, "is_atomic": True}
    return request.model_copy(update={**everything, "missing": None})


def decide(
    request: BackfillRequest,
    registry: Registry,
    active: Generation | None,
    unwritten: Callable[[Projection], str | None],
) -> tuple[Projection, BackfillRequest, str | None]:
    """Decides how a request is carried out.

    Args:
        request: With what the projection declares, as `as_declared` gives it.
        registry: The projections.
        active: What readers query now; None for nothing.
        unwritten: Says why the keys of a projection's function cannot be computed first; None
            when they can.

    Returns:
        The version that folds; the request as it is carried out, in place or atomic, of all keys
        or some; and a note when that is otherwise than one might expect, else None.

    Raises:
        InvalidRequest: It cannot be carried out on what there is.
    """
    name, newest = request.projection, registry.get(request.projection)
    if request.criteria is Criteria.INCREMENTAL_UPDATE and request.is_atomic:
        raise InvalidRequest(
            "criteria: expected any but incremental_update for an atomic run, which brings its "
            "table up to date anyway: leave is_atomic out to bring the live table up to date"
        )
    if request.is_atomic and request.as_of is not None:
        _require_reached(request.as_of, name, active)
        note = f"as of position {request.as_of}: it goes live without the events since"
        return newest, request, note
    if request.is_atomic and not wants_keys(request):
        return newest, request, _followed(unwritten(newest))
    if not request.is_atomic:
        request.require_fitting(atomic=False)
    if request.create_backup and newest.backfill.kept_generations == 0:
        raise InvalidRequest(
            "create_backup: expected a projection that keeps replaced generations, "
            f"{name!r} declares that it keeps none: raise its retained_generations, and leave "
            "enable_rollback on; or leave create_backup out"
        )
    if active is None:
        note = "there is nothing to repair yet: built in a new table, swapped in"
        note = "; ".join(filter(None, [note, _followed(unwritten(newest))]))
        return newest, _for_all_keys(request), note
    live = registry.version(name, active.version)
    if live is None:
        known = ", ".join(str(version) for version in registry.versions(name))
        raise InvalidRequest(
            f"projection {name!r}: the active generation was built by version {active.version}, "
            f"registered is version {known}: start a Rebuild"
        )
    reason = None if follows_only(request) else unwritten(live)
    if reason is not None:
        what = "all keys are built" if wants_keys(request) else "it is built"
        note = f"{reason}: {what} in a new table, by one worker, and swapped in"
        return live, _for_all_keys(request), note
    return live, request, None


def _followed(reason: str | None) -> str | None:
    """What a key that cannot be computed first means for a new table."""
    return None if reason is None else f"{reason}: its events are followed by one worker"


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


def refolded_to(request: BackfillRequest, active: Generation | None, head: int) -> int:
    """Up to where keys are refolded; from there on the generation is followed.

    A shadow is refolded to the live table's checkpoint, where the two are compared, or only to the
    position at which the request lets it end. When the live table is far behind, a shadow is
    refolded to the head instead, as following the rest would take longer.
    """
    live = active.position if active is not None else None
    if live is None:
        return head
    if request.is_atomic and not wants_keys(request) and 2 * live < head:
        return head
    return min(live, head)
