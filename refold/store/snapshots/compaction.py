"""Makes the changes after a snapshot fewer: of each key only the first record counts.

A follower remembers for a while which keys it has kept. Between snapshots that are far apart, the
same keys are kept again and again. What is kept then takes the room of the rows that have changed,
not of the changes.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from refold.store.tables.rows import RowStore

AT_LEAST = 1000
"""Fewer records than these between two snapshots are left as they are."""

# Since it was done last, as many must have come again: so each record is read a few times at most.
_INTERVALS = """
    SELECT s.id, s.last_change AS low, coalesce(later.last_change, most.id) AS high, c.records
    FROM refold.snapshots s
    CROSS JOIN LATERAL (SELECT max(id) AS id FROM refold.snapshot_changes
                        WHERE projection = $1 AND generation = s.generation) most
    LEFT JOIN LATERAL (SELECT min(n.last_change) AS last_change FROM refold.snapshots n
                       WHERE n.projection = $1 AND n.generation = s.generation
                         AND n.last_change > s.last_change) later ON true
    CROSS JOIN LATERAL (SELECT count(*) AS records FROM refold.snapshot_changes
                        WHERE projection = $1 AND generation = s.generation AND id > s.last_change
                          AND id <= coalesce(later.last_change, most.id)) c
    WHERE s.projection = $1 AND s.generation = $2
      AND c.records >= greatest($3, 2 * s.compacted_records)
      AND NOT EXISTS (SELECT FROM refold.snapshots same
                      WHERE same.projection = $1 AND same.generation = $2
                        AND same.last_change = s.last_change AND same.id > s.id)
"""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
# Of another shape are records of code that has changed without another version.
_OTHERS = """
    SELECT count(*) FROM refold.snapshot_changes
    WHERE projection = $1 AND generation = $2 AND id > $3 AND id <= $4
      AND (changes -> 'columns')::text <> $5
"""
_COMPACT = """
    WITH records AS (
        SELECT id, changes FROM refold.snapshot_changes
        WHERE projection = $1 AND generation = $2 AND id > $3 AND id <= $4),
    entries AS (
        SELECT id, 'rows' AS part, e.value AS entry,
               ARRAY(SELECT e.value ->> i FROM unnest($5::int[]) WITH ORDINALITY k (i, o)
                     ORDER BY o) AS key
        FROM records, json_array_elements(changes -> 'rows') e
        UNION ALL
        SELECT id, 'none', e.value,
               ARRAY(SELECT t.value FROM json_array_elements_text(e.value) WITH ORDINALITY t
                     ORDER BY t.ordinality)
        FROM records, json_array_elements(changes -> 'none') e),
    firsts AS (SELECT DISTINCT ON (key) * FROM entries ORDER BY key, id),
    json_firsts AS (
        SELECT DISTINCT ON (key) * FROM (
            SELECT id, 'json' AS part, e.value AS entry,
                   ARRAY(SELECT t.value FROM json_array_elements_text(e.value -> 0)
                         WITH ORDINALITY t ORDER BY t.ordinality) AS key
            FROM records, json_array_elements(changes -> 'json') e) made
        ORDER BY key, id),
    letters AS (
        SELECT id, 'letters' AS part, e.value AS entry, NULL::text[] AS key
        FROM records, json_array_elements(changes -> 'letters') e),
    places AS (SELECT id, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS places
               FROM records),
    spread AS (
        SELECT part, entry, 1 + (n - 1) * places / greatest(total, places * 1000)
                            AS place
        FROM (SELECT part, entry, row_number() OVER (ORDER BY part, id) AS n,
                     count(*) OVER () AS total
              FROM (TABLE firsts UNION ALL TABLE json_firsts UNION ALL TABLE letters) one) counted,
             (SELECT max(places) AS places FROM places) p),
    made AS (
        SELECT p.id, json_build_object(
            'columns', $6::text::json,
            'rows', coalesce(json_agg(entry) FILTER (WHERE part = 'rows'), '[]'),
            'none', coalesce(json_agg(entry) FILTER (WHERE part = 'none'), '[]'),
            'json', coalesce(json_agg(entry) FILTER (WHERE part = 'json'), '[]'),
            'letters', coalesce(json_agg(entry) FILTER (WHERE part = 'letters'), '[]')) AS changes
        FROM spread s JOIN places p USING (place) GROUP BY p.id),
    gone AS (
        DELETE FROM refold.snapshot_changes c USING records r
        WHERE c.id = r.id AND c.id NOT IN (SELECT id FROM made)),
    kept AS (
        UPDATE refold.snapshot_changes c SET changes = made.changes FROM made WHERE c.id = made.id
        RETURNING c.id)
    SELECT count(*) FROM kept
"""
_DONE = "UPDATE refold.snapshots SET compacted_records = $2 WHERE id = $1"


async def compact(
    driver: asyncpg.Connection[Any],
    projection: str,
    generation: int,
    rows: RowStore,
    *,
    at_least: int = AT_LEAST,
) -> int:
    """Makes the changes of a generation fewer where that is worth it.

    Args:
        driver: In a transaction.
        projection: The projection.
        generation: A generation that has snapshots.
        rows: Its table, in the version that built it.
        at_least: Fewer records than these between two snapshots are left as they are.

    Returns:
        How many records are there no more.
    """
    intervals = await driver.fetch(_INTERVALS, projection, generation, at_least)
    name = f"refold.snapshot_changes/{projection}/{generation}"
    if not intervals or not await driver.fetchval(_LOCK, name):
        return 0
    fewer = 0
    columns = rows.columns_as_json
    places = [rows.written.index(name) for name in rows.key_names]
    for interval in intervals:
        where = projection, generation, interval["low"], interval["high"]
        records = interval["records"]
        if not await driver.fetchval(_OTHERS, *where, columns):
            left = await driver.fetchval(_COMPACT, *where, places, columns)
            fewer, records = fewer + records - left, left
        await driver.execute(_DONE, interval["id"], records)
    return fewer
