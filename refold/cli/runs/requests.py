"""The options that say what a backfill or rebuild is asked for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from refold.cli.options import Fields
from refold.errors import InvalidRequest
from refold.requests.criteria import Criteria
from refold.requests.poison_policy import OnPoison
from refold.requests.runs import Approval, BackfillRequest
from refold.requests.validation import accept_request

PlanOnly = Annotated[bool, typer.Option("--plan", help="Say what would be done; do nothing.")]
Detach = Annotated[bool, typer.Option("--detach", help="Start it and return at once.")]
RequestedBy = Annotated[str | None, typer.Option(help="Who asks, for the record.")]


def what_to_repair(
    *,
    full: Annotated[bool, typer.Option("--full", help="Every key.")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Apply new events only.")
    ] = False,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="With --incremental: also keys that have no row."),
    ] = False,
    from_date: Annotated[
        str | None,
        typer.Option(
            help="Keys of events since then: RFC 3339, as 2026-03-01T00:00:00Z, or a date, "
            "which is midnight UTC."
        ),
    ] = None,
    to_date: Annotated[
        str | None, typer.Option(help="Keys of events recorded before then (exclusive).")
    ] = None,
    last_days: Annotated[
        int | None, typer.Option(min=1, help="Keys of events of the last so many days.")
    ] = None,
    last_events: Annotated[
        int | None, typer.Option(min=1, help="Keys of the last so many events of the log.")
    ] = None,
    from_position: Annotated[
        int | None, typer.Option(min=0, help="Keys of events from this position (inclusive).")
    ] = None,
    to_position: Annotated[
        int | None, typer.Option(min=0, help="Keys of events up to this one (inclusive).")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CEL", help="Keys of events for which this is true; narrows other criteria."
        ),
    ] = None,
    predicate_name: Annotated[
        str | None, typer.Option(help="Instead of --where: a predicate registered in Python.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only keys of events of this tenant.")] = None,
) -> Fields:
    """The criterion and its bounds; without one, the projection's own criterion holds.

    Raises:
        typer.BadParameter: Two criteria.
    """
    # Each criterion, and the options that ask for it: a range has two.
    said: dict[Criteria | None, Fields] = {
        Criteria.FULL_REBUILD: {"--full": full},
        Criteria.INCREMENTAL_UPDATE: {"--incremental": incremental, "--missing": missing},
        Criteria.LAST_N_DAYS: {"--last-days": last_days},
        Criteria.LAST_N_EVENTS: {"--last-events": last_events},
        (Criteria.FROM_DATE if to_date is None else Criteria.DATE_RANGE): {
            "--from-date": from_date,
            "--to-date": to_date,
        },
        (Criteria.FROM_EVENT_NUMBER if to_position is None else Criteria.EVENT_NUMBER_RANGE): {
            "--from-position": from_position,
            "--to-position": to_position,
        },
    }
    given = {criteria: _given(options) for criteria, options in said.items() if _given(options)}
    if full:  # dates select nothing further then
        given.pop(Criteria.FROM_DATE, None)
        given.pop(Criteria.DATE_RANGE, None)
    if len(given) > 1:
        names = [options[0] for options in given.values()]
        both = "both " if len(names) == 2 else ""
        raise typer.BadParameter(
            f"expected one criterion, got {both}{', '.join(names[:-1])} and {names[-1]}: --where "
            "and --tenant narrow any that selects events"
        )
    criteria = next(iter(given), None)
    if criteria is None and not (where is predicate_name is None):
        criteria = Criteria.CUSTOM_PREDICATE
    return {
        "criteria": criteria,
        "from_date": from_date,
        "to_date": to_date,
        "last_n": last_days if last_days is not None else last_events,
        "from_position": from_position,
        "to_position": to_position,
        "predicate": where,
        "predicate_name": predicate_name,
        "missing": missing or None,
        "tenant": tenant,
    }


def _given(options: Fields) -> list[str]:
    return [name for name, value in options.items() if value not in (None, False)]


def where_to(
    *,
    atomic: Annotated[
        bool, typer.Option("--atomic", help="Build a new table and swap it in.")
    ] = False,
    rollback_on_failure: Annotated[
        bool | None,
        typer.Option(
            "--rollback-on-failure/--no-rollback-on-failure",
            help="Bring back what stood there if the run fails; else as the projection declares.",
        ),
    ] = None,
    create_backup: Annotated[
        bool | None,
        typer.Option(
            "--create-backup/--no-create-backup",
            help="Keep what stood there, to roll back to; else as the projection declares.",
        ),
    ] = None,
) -> Fields:
    """Whether a run is atomic, or in place with a way back; a `Rebuild` is always atomic."""
    return {
        "is_atomic": atomic or None,
        "rollback_on_failure": rollback_on_failure,
        "create_backup": create_backup,
    }


def how(
    *,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Events a transaction.")
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, max=64, help="Partitions at a time.")
    ] = None,
    events_per_second: Annotated[
        float | None, typer.Option(min=0, help="Over all partitions; 0 for no limit.")
    ] = None,
    target_batch_seconds: Annotated[
        float | None, typer.Option(help="Adapt the batch size until a batch takes about so long.")
    ] = None,
    min_batch_size: Annotated[
        int | None, typer.Option(help="The least that an adapted batch size becomes.")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="The most that an adapted batch size becomes.")
    ] = None,
    on_poison: Annotated[
        OnPoison | None, typer.Option(help="What to do with an event that cannot be applied.")
    ] = None,
    max_dead_letters: Annotated[
        int | None, typer.Option(min=0, help="Fail when more events are set aside.")
    ] = None,
    approval: Annotated[
        Approval | None, typer.Option(help="Who lets the new table go live.")
    ] = None,
    max_changed_percent: Annotated[
        float | None,
        typer.Option(min=0, help="Await approval if more of the live rows change, in percent."),
    ] = None,
    max_removed_rows: Annotated[
        int | None, typer.Option(min=0, help="Await approval if more live rows are removed.")
    ] = None,
    requested_by: RequestedBy = None,
) -> Fields:
    """The options of pace, poison events and approval: each gives the field of its name."""
    return dict(locals())


def holds_back(
    *,
    max_replication_lag_seconds: Annotated[
        float | None, typer.Option(min=0, help="Hold back while a replica is further behind.")
    ] = None,
    max_active_sessions: Annotated[
        int | None, typer.Option(min=0, help="Hold back while more sessions are at work.")
    ] = None,
    max_wal_bytes_per_second: Annotated[
        float | None, typer.Option(min=0, help="Hold back while the server writes more.")
    ] = None,
    hold_while: Annotated[
        str | None, typer.Option(metavar="SQL", help="Hold back while this expression is true.")
    ] = None,
) -> Fields:
    """The throttle: the load of the database at which a run holds back."""
    given = {name: value for name, value in locals().items() if value is not None}
    return {"throttle": given or None}


def backfill_request(name: str, fields: Fields) -> BackfillRequest:
    """The request that these options make; a field that is left out has its default.

    Raises:
        typer.BadParameter: They make no request; the message names each field that is wrong.
    """
    given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    try:
        return accept_request([{"projection": name, **given}], BackfillRequest)
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None
