"""What each role may do with Refold's own tables. A test takes each right away and misses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from refold.store.roles.names import Roles

_LETTERS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}

# By PostgreSQL's own letters: r reads, a adds, w changes, d deletes.
_WORKER: Mapping[str, str] = {
    "alembic_version": "r",
    "dead_letters": "rad",
    "deliveries": "rawd",
    "deployments": "rawd",
    "events": "r",
    "generations": "rawd",
    "late_events": "rad",
    "leases": "rawd",
    "left_behind": "rawd",
    "partitions": "rawd",
    "passed_gaps": "rad",
    "passed_to": "raw",
    "runs": "rawd",
    "selected_keys": "rad",
    "skipped_events": "ra",
    "snapshot_changes": "rawd",
    "snapshot_rows": "rawd",
    "snapshots": "rawd",
    "system_event_counters": "raw",
    "system_events": "rad",
}
_MIRRORING: Mapping[str, str] = {"events": "a", "mirrors": "raw"}
_OPERATOR: Mapping[str, str] = {
    "alembic_version": "r",
    "dead_letters": "r",
    "deployments": "r",
    "events": "r",
    "generations": "rw",
    "late_events": "r",
    "leases": "rw",
    "left_behind": "r",
    "mirrors": "r",
    "passed_gaps": "r",
    "passed_to": "r",
    "runs": "r",
    "skipped_events": "r",
    "snapshot_changes": "rd",
    "snapshots": "rwd",
    "system_event_counters": "raw",
    "system_events": "ra",
}
_APPENDER: Mapping[str, str] = {"alembic_version": "r", "events": "ra", "imports": "ra"}


@dataclass(frozen=True)
class TableRights:
    """What a role may do with one of Refold's own tables.

    Attributes:
        role: Who.
        table: Its name, without the schema.
        rights: Such as ``SELECT``.
    """

    role: str
    table: str
    rights: tuple[str, ...]


def table_rights(roles: Roles, *, mirrors: bool = False) -> Iterator[TableRights]:
    """What the roles may do with Refold's own tables.

    Args:
        roles: Their names.
        mirrors: Whether workers copy events into Refold's own table.
    """
    worker = dict(_WORKER)
    for table, letters in _MIRRORING.items() if mirrors else ():
        worker[table] = worker.get(table, "") + letters
    given = ((roles.worker, worker), (roles.operator, _OPERATOR), (roles.appender, _APPENDER))
    for role, tables in given:
        for table, letters in sorted(tables.items()):
            yield TableRights(role, table, tuple(_LETTERS[letter] for letter in letters))
