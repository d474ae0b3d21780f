"""Which step needs which right: each right that a role has is here, or nobody needs it."""

from __future__ import annotations

from tests.support.rights import of_others as others
from tests.support.rights import of_workers as workers
from tests.support.rights.step import Step

Right = tuple[str, str, str, str]
"""Role without prefix, kind of object, object, right."""

_LETTERS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


def _tables(role: str, steps: dict[str, dict[str, Step]]) -> dict[Right, Step]:
    return {
        (role, "table", f"refold.{table}", _LETTERS[letter]): step
        for table, by_letters in steps.items()
        for letters, step in by_letters.items()
        for letter in letters
    }


_WORKER = {
    "alembic_version": {"r": workers.STARTS},
    "dead_letters": {"ra": workers.SETS_ASIDE, "d": workers.SKIPS},
    "deliveries": {"raw": workers.HANDS_OUT, "d": workers.FORGETS},
    "deployments": {"rawd": workers.SHOWS},
    "events": {"r": workers.REBUILDS},
    "generations": {"raw": workers.REBUILDS, "d": workers.FORGETS},
    "late_events": {"ra": workers.PASSES, "d": workers.PASSES},
    "leases": {"rawd": workers.REBUILDS},
    "left_behind": {"rawd": workers.LEAVES},
    "partitions": {"rawd": workers.REBUILDS},
    "passed_gaps": {"rad": workers.PASSES},
    "passed_to": {"raw": workers.PASSES},
    "runs": {"raw": workers.REBUILDS, "d": workers.FORGETS},
    "selected_keys": {"ra": workers.REPAIRS, "d": workers.REBUILDS},
    "skipped_events": {"r": workers.REBUILDS, "a": workers.SKIPS},
    "snapshot_changes": {"rad": workers.KEEPS, "w": workers.COMPACTS},
    "snapshot_rows": {"rawd": workers.KEEPS},
    "snapshots": {"rad": workers.KEEPS, "w": workers.COMPACTS},
    "system_event_counters": {"raw": workers.REBUILDS},
    "system_events": {"ra": workers.REBUILDS, "d": workers.FORGETS},
}
_OPERATOR = {
    "alembic_version": {"r": others.STATUS},
    "dead_letters": {"r": others.LETTERS},
    "deployments": {"r": others.STATUS},
    "events": {"r": others.EVENT},
    "generations": {"r": others.STATUS, "w": others.DROPS_A_COPY},
    "late_events": {"r": others.CHECKED},
    "leases": {"r": others.STATUS, "w": others.RELEASES},
    "left_behind": {"r": others.STATUS},
    "mirrors": {"r": others.STATUS_OF_ALL},
    "passed_gaps": {"r": others.CHECKED},
    "passed_to": {"r": others.CHECKED},
    "runs": {"r": others.STATUS},
    "skipped_events": {"r": others.EXPLAIN},
    "snapshot_changes": {"r": others.READS_A_SNAPSHOT, "d": others.DROPS},
    "snapshots": {"r": others.SNAPSHOTS, "wd": others.DROPS},
    "system_event_counters": {"raw": others.PUBLISHES},
    "system_events": {"r": others.LOG, "a": others.PUBLISHES},
}
_APPENDER = {
    "alembic_version": {"r": others.IMPORTS},
    "events": {"ra": others.APPENDS},
    "imports": {"ra": others.IMPORTS},
}
_MIRRORING = {"events": {"a": workers.COPIES}, "mirrors": {"raw": workers.COPIES}}

NEEDS: dict[Right, Step] = {
    ("migrator", "database", "", "CONNECT"): Step(
        "migrate", lambda stage: stage.command("migrate", kind="migrator")
    ),
    ("worker", "database", "", "CONNECT"): workers.STARTS,
    ("worker", "database", "", "CREATE"): workers.REBUILDS,
    ("worker", "schema", "refold", "USAGE"): workers.STARTS,
    ("worker", "schema", "refold", "CREATE"): workers.COMPUTES,
    ("worker", "schema", "public", "USAGE"): workers.REBUILDS,
    ("worker", "schema", "public", "CREATE"): workers.REBUILDS,
    ("worker", "membership", "pg_read_all_stats", "MEMBER"): workers.SEES,
    **_tables("worker", _WORKER),
    ("operator", "database", "", "CONNECT"): others.STATUS,
    ("operator", "database", "", "TEMPORARY"): others.READS_A_SNAPSHOT,
    ("operator", "schema", "refold", "USAGE"): others.STATUS,
    ("operator", "schema", "public", "USAGE"): others.ROWS,
    ("operator", "membership", "pg_read_all_stats", "MEMBER"): others.SEES_TOO,
    ("operator", "default", "tables", "SELECT"): others.READS_LATER,
    ("operator", "default", "schemas", "USAGE"): others.READS_A_COPY,
    **_tables("operator", _OPERATOR),
    ("reader", "database", "", "CONNECT"): others.READS,
    ("reader", "schema", "public", "USAGE"): others.READS,
    ("reader", "default", "tables in public", "SELECT"): others.READS_LATER,
    ("appender", "database", "", "CONNECT"): others.APPENDS,
    ("appender", "schema", "refold", "USAGE"): others.APPENDS,
    **_tables("appender", _APPENDER),
}
"""For each right, a step that does not work without it."""

NEEDS_OF_MIRRORS: dict[Right, Step] = _tables("worker", _MIRRORING)
"""The same for what workers have in addition where they copy events."""
