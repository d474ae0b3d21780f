"""What is attached to a live table and cannot move to the one that takes its place."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.generations import Built

# Each row: what it is, and what to do about it.
_REFUSED = text(
    """
    WITH live AS (SELECT * FROM pg_class WHERE oid = to_regclass(:live)),
    depends AS (SELECT d.* FROM pg_depend d, live
                WHERE refclassid = 'pg_class'::regclass AND refobjid = live.oid)
    SELECT 'the live table is ' || CASE relkind WHEN 'p' THEN 'partitioned'
               WHEN 'f' THEN 'a foreign table' WHEN 'v' THEN 'a view'
               WHEN 'm' THEN 'a materialized view' ELSE 'not a plain table' END
           || ': make it a plain table'
    FROM live WHERE relkind <> 'r'
    UNION ALL
    SELECT 'the live table is ' || CASE relpersistence WHEN 'u' THEN 'unlogged' ELSE 'temporary' END
           || ': ALTER TABLE … SET LOGGED' FROM live WHERE relpersistence <> 'p'
    UNION ALL
    SELECT 'the live table is made of type ' || reloftype::regtype || ': ALTER TABLE … NOT OF'
    FROM live WHERE reloftype <> 0
    UNION ALL
    SELECT CASE WHEN inhrelid = live.oid
                THEN 'the live table is a child of ' || inhparent::regclass
                ELSE 'table ' || inhrelid::regclass || ' is a child of the live one' END
           || ': ALTER TABLE … NO INHERIT, or DETACH PARTITION'
    FROM pg_inherits, live WHERE live.oid IN (inhrelid, inhparent)
    UNION ALL
    SELECT DISTINCT 'materialized view ' || v.oid::regclass
           || ': drop it, and create it again after the rebuild'
    FROM depends d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class WHERE v.relkind = 'm'
    UNION ALL
    SELECT 'view ' || v.oid::regclass || ' belongs to ' || quote_ident(pg_get_userbyid(v.relowner))
           || ', of which ' || quote_ident(current_user) || ' is not a member: grant it'
    FROM depends d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE v.relkind = 'v' AND v.relpersistence = 'p' AND NOT pg_has_role(v.relowner, 'USAGE')
    UNION ALL
    SELECT 'rule ' || quote_ident(rulename) || ': drop it' FROM pg_rewrite, live
    WHERE ev_class = live.oid
    UNION ALL
    SELECT DISTINCT 'rule ' || quote_ident(r.rulename) || ' of ' || r.ev_class::regclass
           || ': drop it'
    FROM depends d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid, live
    WHERE r.rulename <> '_RETURN' AND r.ev_class <> live.oid
    UNION ALL
    SELECT 'foreign key ' || quote_ident(conname) || ' of ' || conrelid::regclass
           || ' refers to the live table: drop it, and add it again after the rebuild: ALTER TABLE '
           || conrelid::regclass || ' ADD CONSTRAINT ' || quote_ident(conname) || ' '
           || pg_get_constraintdef(c.oid)
    FROM pg_constraint c, live
    WHERE contype = 'f' AND confrelid = live.oid AND conrelid <> live.oid
    UNION ALL
    SELECT 'function ' || objid::regprocedure || ' has it in its body (BEGIN ATOMIC): '
           || 'write the body as a string' FROM depends WHERE classid = 'pg_proc'::regclass
    UNION ALL
    SELECT 'policy ' || quote_ident(polname) || ' of ' || polrelid::regclass
           || ' queries the live table: drop it'
    FROM depends d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid, live
    WHERE polrelid <> live.oid
    UNION ALL
    SELECT DISTINCT CASE classid WHEN 'pg_proc'::regclass THEN 'function ' || objid::regprocedure
                                 ELSE 'table ' || objid::regclass END
           || ' uses the row type of the live table: name a type of its own'
    FROM pg_depend, live JOIN pg_type t ON t.oid = live.reltype
    WHERE refclassid = 'pg_type'::regclass AND refobjid IN (t.oid, t.typarray)
      AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass) AND objid <> live.oid
    UNION ALL
    SELECT 'publication ' || quote_ident(pubname)
           || ': take the table out of it, and put it in again after the rebuild; a subscriber '
           || 'has to refresh both times, and to truncate its copy in between'
    FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid, live WHERE prrelid = live.oid
    UNION ALL
    SELECT 'sequence ' || objid::regclass || ' belongs to a column: ALTER SEQUENCE … OWNED BY NONE'
    FROM depends JOIN pg_class s ON classid = 'pg_class'::regclass AND s.oid = objid
    WHERE s.relkind = 'S' AND deptype = 'a'
    UNION ALL
    SELECT 'identity column ' || quote_ident(attname) || ': ALTER COLUMN … DROP IDENTITY'
    FROM pg_attribute, live WHERE attrelid = live.oid AND attidentity <> ''
    UNION ALL
    SELECT 'owner ' || quote_ident(pg_get_userbyid(relowner)) || ', of which '
           || quote_ident(current_user) || ' is not a member: grant it'
    FROM live WHERE NOT pg_has_role(relowner, 'MEMBER')
    ORDER BY 1
    """
)

# What only the target's own columns can tell.
_UNFIT = text(
    """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) || ' uses column '
           || quote_ident(a.attname) || ', which the new table does not have: drop it' AS what
    FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_attribute n ON n.attrelid = to_regclass(:target) AND n.attname = a.attname
         AND n.attnum > 0 AND NOT n.attisdropped
    LEFT JOIN pg_class i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid
         AND i.relkind = 'i' AND i.relname <> ALL (CAST(:names AS text[]))
    LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
         AND c.contype IN ('c', 'u', 'x', 'f') AND c.conname <> ALL (CAST(:names AS text[]))
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:live)
      AND d.refobjsubid > 0 AND n.attname IS NULL
      AND (i.oid IS NOT NULL OR c.oid IS NOT NULL
           OR d.classid IN ('pg_trigger'::regclass, 'pg_policy'::regclass,
                            'pg_statistic_ext'::regclass))
    UNION ALL
    SELECT DISTINCT 'view ' || r.ev_class::regclass || ' uses column ' || quote_ident(a.attname)
           || CASE WHEN n.attname IS NULL THEN ', which the new table does not have'
              ELSE ', which is ' || format_type(n.atttypid, n.atttypmod)
                   || ' in the new table, not ' || format_type(a.atttypid, a.atttypmod) END
           || ': drop the view, and create it again after the rebuild'
    FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' AND v.relpersistence = 'p'
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_attribute n ON n.attrelid = to_regclass(:target) AND n.attname = a.attname
         AND n.attnum > 0 AND NOT n.attisdropped
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:live)
      AND d.refobjsubid > 0
      AND (n.attname IS NULL OR (n.atttypid, n.atttypmod) <> (a.atttypid, a.atttypmod))
    ORDER BY 1
    """
)

_BY_HAND = text(
    """
    SELECT 'column ' || quote_ident(attname) || ' was added by hand: add it to the projection''s '
           || 'table and bump its version, or drop it'
    FROM pg_attribute WHERE attrelid = to_regclass(:live) AND attnum > 0 AND NOT attisdropped
      AND attname <> ALL (CAST(:columns AS text[]))
    ORDER BY 1
    """
)


async def refused(
    connection: AsyncConnection,
    live: str,
    target: str | None,
    built: Built,
) -> list[str]:
    """What stands in the way of a swap, each with what to do about it.

    Args:
        connection: In a transaction with an empty ``search_path``.
        live: The live table, quoted.
        target: The table that is to take its place, quoted; None when there is none yet.
        built: What the live table was built with.
    """
    found = list((await connection.execute(_REFUSED, {"live": live})).scalars())
    columns = {"live": live, "columns": built["columns"]}
    found += (await connection.execute(_BY_HAND, columns)).scalars()
    if target is not None:
        both = {"live": live, "target": target, "names": built["names"]}
        unfit = await connection.execute(_UNFIT, both)
        found += unfit.scalars()
    return found
