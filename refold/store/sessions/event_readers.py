"""The mark of a transaction that reads events for a long time, and no read model.

Its snapshot is as old as the transaction. A swap waits for readers with old snapshots, since to
them the new table is empty. It need not wait for a reader that never looks at that table. The mark
is an advisory lock, shared and held until the transaction ends: any session sees it in
``pg_locks``.
"""

from __future__ import annotations

MARK = "pg_catalog.pg_advisory_xact_lock_shared(1919247983, 1)"
"""SQL that marks the transaction at hand; the first number spells ``refo``."""

IS_MARKED = (
    "EXISTS (SELECT FROM pg_catalog.pg_locks m WHERE m.pid = a.pid AND m.locktype = 'advisory' "
    "AND m.classid = 1919247983 AND m.objid = 1 AND m.objsubid = 2)"
)
"""SQL: whether the session ``a`` of ``pg_stat_activity`` is in such a transaction."""
