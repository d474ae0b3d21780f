"""What the table that is to go live can be given before the swap, without stopping anybody."""

from __future__ import annotations

from sqlalchemy import TextClause, text

# Each row: what it is, and the statement that gives it to the target; no row when the target has it
# already. Without a target, only what it is.

# Compared with what the target has: a target that was live before may have grants that were revoked
# since.
GRANTS = text(
    """
    WITH granted AS (
        SELECT c.oid, CAST(NULL AS name) AS attname, acl.grantee, acl.privilege_type,
               acl.is_grantable
        FROM pg_class c, aclexplode(relacl) AS acl
        WHERE c.oid IN (to_regclass(:live), to_regclass(:target)) AND acl.grantee <> relowner
        UNION
        SELECT c.oid, attname, acl.grantee, acl.privilege_type, acl.is_grantable
        FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND NOT attisdropped,
        aclexplode(attacl) AS acl
        WHERE c.oid IN (to_regclass(:live), to_regclass(:target)) AND acl.grantee <> relowner
    ),
    live AS (
        SELECT attname, grantee, privilege_type, is_grantable FROM granted
        WHERE oid = to_regclass(:live)
          AND (attname IS NULL OR :target IS NULL OR attname IN
               (SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:target)
                AND attnum > 0 AND NOT attisdropped))
    ),
    target AS (SELECT attname, grantee, privilege_type, is_grantable FROM granted
               WHERE oid = to_regclass(:target)),
    compared AS (
        SELECT 1 AS step, * FROM (SELECT * FROM target EXCEPT SELECT * FROM live) AS lost
        UNION ALL
        SELECT 2, * FROM (SELECT * FROM live EXCEPT SELECT * FROM target) AS new
    ),
    spelt AS (
        SELECT step, privilege_type || coalesce(' (' || quote_ident(attname) || ')', '')
                   AS privilege,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                   AS to_,
               CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option, attname
        FROM compared
    )
    SELECT CASE step WHEN 2 THEN 'grant ' || privilege || ' to ' || to_ || lower(option) END
               AS what,
           CASE step WHEN 1 THEN format('REVOKE %s ON TABLE %s FROM %s CASCADE', privilege,
                                        :target, to_)
                ELSE format('GRANT %s ON TABLE %s TO %s%s', privilege, :target, to_, option)
           END AS prepare
    FROM spelt ORDER BY step, attname NULLS FIRST, privilege, to_
    """
)

# Rights that were once taken from the owner, of a target that was live before. The swap takes them
# away again where the owner of the live table still lacks them.
OWNERS_RIGHTS = text(
    """
    SELECT CAST(NULL AS text) AS what, format('GRANT %s ON TABLE %s TO %I', privilege_type,
           :target, pg_get_userbyid(relowner)) AS prepare
    FROM pg_class, aclexplode(acldefault('r', relowner)) AS all_rights
    WHERE oid = to_regclass(:target) AND relacl IS NOT NULL AND NOT EXISTS (
        SELECT FROM aclexplode(relacl) AS acl
        WHERE acl.grantee = relowner AND acl.privilege_type = all_rights.privilege_type)
    ORDER BY 2
    """
)

OPTIONS = text(
    """
    WITH options AS (
        SELECT c.oid, unnest(c.reloptions) AS option FROM pg_class c
        WHERE c.oid IN (to_regclass(:live), to_regclass(:target))
        UNION ALL
        SELECT c.oid, 'toast.' || unnest(t.reloptions) FROM pg_class c
        JOIN pg_class t ON t.oid = c.reltoastrelid
        WHERE c.oid IN (to_regclass(:live), to_regclass(:target))
    )
    SELECT NULL AS what,
           format('ALTER TABLE %s RESET (%s)', :target, split_part(option, '=', 1)) AS prepare
    FROM options WHERE oid = to_regclass(:target) AND split_part(option, '=', 1) NOT IN
        (SELECT split_part(option, '=', 1) FROM options WHERE oid = to_regclass(:live))
    UNION ALL
    SELECT 'storage parameter ' || option, format('ALTER TABLE %s SET (%s)', :target, option)
    FROM options WHERE oid = to_regclass(:live) AND option NOT IN
        (SELECT option FROM options WHERE oid = to_regclass(:target))
    ORDER BY 2
    """
)

COLUMNS = text(
    """
    SELECT change[1] || ' of ' || quote_ident(a.attname) AS what,
           format('ALTER TABLE %s ALTER %I %s', :target, a.attname, change[2]) AS prepare
    FROM pg_attribute a LEFT JOIN pg_attribute n
      ON n.attrelid = to_regclass(:target) AND n.attname = a.attname AND NOT n.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid,
    LATERAL (VALUES
        (CASE WHEN coalesce(a.attstattarget, -1) <> coalesce(n.attstattarget, -1)
              THEN ARRAY['statistics target',
                         'SET STATISTICS ' || coalesce(a.attstattarget, -1)] END),
        (CASE WHEN a.attstorage <> coalesce(n.attstorage, t.typstorage)
              THEN ARRAY['storage', 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN'
                   WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END] END),
        (CASE WHEN a.attcompression <> coalesce(n.attcompression, '')
              THEN ARRAY['compression', 'SET COMPRESSION ' || CASE a.attcompression
                   WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END] END),
        (CASE WHEN n.attoptions IS NOT NULL AND NOT n.attoptions <@ coalesce(a.attoptions, '{}')
              THEN ARRAY['options', 'RESET (' || (SELECT string_agg(split_part(o, '=', 1), ', ')
                   FROM unnest(n.attoptions) AS o WHERE o <> ALL (coalesce(a.attoptions, '{}')))
                   || ')'] END),
        (CASE WHEN a.attoptions IS NOT NULL AND a.attoptions IS DISTINCT FROM n.attoptions
              THEN ARRAY['options', 'SET (' || array_to_string(a.attoptions, ', ') || ')'] END)
    ) AS changes (change)
    WHERE a.attrelid = to_regclass(:live) AND a.attnum > 0 AND NOT a.attisdropped
      AND change IS NOT NULL AND (:target IS NULL OR n.attname IS NOT NULL)
      AND (n.atttypid IS NULL OR n.atttypid = a.atttypid)
    ORDER BY 2
    """
)

REPLICA_IDENTITY = text(
    """
    WITH identities AS (
        SELECT c.oid, relreplident, (SELECT i.relname FROM pg_index JOIN pg_class i
               ON i.oid = indexrelid WHERE indrelid = c.oid AND indisreplident) AS index
        FROM pg_class c WHERE c.oid IN (to_regclass(:live), to_regclass(:target))
    )
    SELECT 'replica identity' AS what,
           format('ALTER TABLE %s REPLICA IDENTITY %s', :target,
                  CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
                       WHEN 'i' THEN format('USING INDEX %I', c.index)
                       ELSE 'DEFAULT' END) AS prepare
    FROM identities c LEFT JOIN identities n ON n.oid = to_regclass(:target)
    WHERE c.oid = to_regclass(:live) AND NOT (c.relreplident = 'i' AND c.index IS NULL)
      AND (c.relreplident, c.index) IS DISTINCT FROM (coalesce(n.relreplident, 'd'), n.index)
    """
)

CLUSTERED = text(
    """
    SELECT 'cluster on ' || quote_ident(i.relname) AS what,
           format('ALTER TABLE %s CLUSTER ON %I', :target, i.relname) AS prepare
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = to_regclass(:live) AND x.indisclustered
      AND NOT EXISTS (SELECT FROM pg_index JOIN pg_class t ON t.oid = indexrelid
                      WHERE indrelid = to_regclass(:target) AND t.relname = i.relname
                        AND indisclustered)
      AND (:target IS NULL OR i.relname <> ALL (CAST(:declared AS text[]))
           OR EXISTS (SELECT FROM pg_index JOIN pg_class t ON t.oid = indexrelid
                      WHERE indrelid = to_regclass(:target) AND t.relname = i.relname))
    UNION ALL
    SELECT NULL, format('ALTER TABLE %s SET WITHOUT CLUSTER', :target)
    WHERE EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass(:target) AND indisclustered)
      AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass(:live) AND indisclustered)
    """
)

COMMENTS = text(
    """
    WITH live AS (SELECT oid FROM pg_class WHERE oid = to_regclass(:live)),
    target AS (SELECT oid, relnamespace FROM pg_class WHERE oid = to_regclass(:target))
    SELECT 'comment on the table' AS what,
           format('COMMENT ON TABLE %s IS %L', :target, obj_description(live.oid, 'pg_class'))
               AS prepare
    FROM live LEFT JOIN target ON true
    WHERE obj_description(live.oid, 'pg_class')
          IS DISTINCT FROM obj_description(target.oid, 'pg_class')
    UNION ALL
    SELECT 'comment on column ' || quote_ident(a.attname),
           format('COMMENT ON COLUMN %s.%I IS %L', :target, a.attname,
                  col_description(live.oid, a.attnum))
    FROM live JOIN pg_attribute a ON a.attrelid = live.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attribute n ON n.attrelid = to_regclass(:target) AND n.attname = a.attname
    WHERE (:target IS NULL OR n.attname IS NOT NULL)
      AND col_description(live.oid, a.attnum)
          IS DISTINCT FROM col_description(n.attrelid, n.attnum)
    UNION ALL
    SELECT 'comment on index ' || quote_ident(i.relname),
           CASE WHEN s.nspname IS NOT NULL THEN
               format('COMMENT ON INDEX %I.%I IS %L', s.nspname, i.relname,
                      obj_description(i.oid, 'pg_class')) END
    FROM live JOIN pg_index x ON x.indrelid = live.oid JOIN pg_class i ON i.oid = x.indexrelid
    LEFT JOIN target ON true LEFT JOIN pg_namespace s ON s.oid = target.relnamespace
    LEFT JOIN pg_class n ON n.relname = i.relname AND n.relnamespace = target.relnamespace
    WHERE (n.oid IS NOT NULL OR i.relname <> ALL (CAST(:declared AS text[])) OR :target IS NULL)
      AND obj_description(i.oid, 'pg_class') IS DISTINCT FROM obj_description(n.oid, 'pg_class')
    UNION ALL
    SELECT 'comment on constraint ' || quote_ident(c.conname),
           format('COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, :target,
                  obj_description(c.oid, 'pg_constraint'))
    FROM live JOIN pg_constraint c ON c.conrelid = live.oid AND c.contype <> 't'
    LEFT JOIN pg_constraint n ON n.conrelid = to_regclass(:target) AND n.conname = c.conname
    WHERE (n.oid IS NOT NULL OR c.conname <> ALL (CAST(:declared AS text[])) OR :target IS NULL)
      AND obj_description(c.oid, 'pg_constraint')
          IS DISTINCT FROM obj_description(n.oid, 'pg_constraint')
    ORDER BY 2
    """
)

TABLESPACES = text(
    """
    WITH usual AS (SELECT oid, spcname FROM pg_tablespace WHERE oid =
                   (SELECT dattablespace FROM pg_database WHERE datname = current_database())),
    places AS (
        SELECT c.oid, c.relname, r.oid AS of_table, c.relkind, t.spcname AS name
        FROM pg_class r JOIN pg_class c
          ON c.oid = r.oid OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = r.oid),
        usual, pg_tablespace t
        WHERE r.oid IN (to_regclass(:live), to_regclass(:target))
          AND t.oid = coalesce(nullif(c.reltablespace, 0), usual.oid)
    )
    SELECT 'tablespace ' || quote_ident(a.name) || CASE a.relkind WHEN 'r' THEN ''
                ELSE ' of index ' || quote_ident(a.relname) END AS what,
           format('ALTER %s %s SET TABLESPACE %I', CASE a.relkind WHEN 'r' THEN 'TABLE'
                  ELSE 'INDEX' END, b.oid::regclass, a.name) AS prepare
    FROM usual, places a LEFT JOIN places b ON b.of_table = to_regclass(:target)
         AND b.relkind = a.relkind AND (b.relname = a.relname OR b.relkind = 'r')
    WHERE a.of_table = to_regclass(:live)
      AND a.name <> CASE WHEN :target IS NULL THEN usual.spcname ELSE b.name END
    ORDER BY a.relkind DESC, a.relname
    """
)
"""The tablespaces of the table and of its indexes."""

ACCESS_METHOD = text(
    """
    SELECT 'access method ' || quote_ident(m.amname) AS what,
           format('ALTER TABLE %s SET ACCESS METHOD %I', :target, m.amname) AS prepare
    FROM pg_class c JOIN pg_am m ON m.oid = c.relam
    WHERE c.oid = to_regclass(:live) AND c.relam IS DISTINCT FROM coalesce(
        (SELECT relam FROM pg_class WHERE oid = to_regclass(:target)),
        (SELECT oid FROM pg_am WHERE amname = 'heap'))
    """
)

# The settings of an index that was added by hand are in its definition; those of keys and unique
# constraints are not.
INDEX_SETTINGS = text(
    """
    WITH pairs AS (
        SELECT i.oid, i.relname, i.reloptions AS wanted, n.oid AS target, n.reloptions AS found
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_index y ON y.indrelid = to_regclass(:target)
        JOIN pg_class n ON n.oid = y.indexrelid AND n.relname = i.relname
        WHERE x.indrelid = to_regclass(:live)
    )
    SELECT CAST(NULL AS text) AS what, format('ALTER INDEX %s RESET (%s)', target::regclass,
           (SELECT string_agg(split_part(o, '=', 1), ', ') FROM unnest(found) AS o
            WHERE o <> ALL (coalesce(wanted, '{}')))) AS prepare
    FROM pairs WHERE NOT found <@ coalesce(wanted, '{}')
    UNION ALL
    SELECT 'storage parameters of index ' || quote_ident(relname),
           format('ALTER INDEX %s SET (%s)', target::regclass, array_to_string(wanted, ', '))
    FROM pairs WHERE NOT wanted <@ coalesce(found, '{}')
    UNION ALL
    SELECT 'statistics target of index ' || quote_ident(relname),
           format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', target::regclass, a.attnum,
                  coalesce(a.attstattarget, -1))
    FROM pairs JOIN pg_attribute a ON a.attrelid = pairs.oid
    JOIN pg_attribute b ON b.attrelid = target AND b.attnum = a.attnum
    WHERE coalesce(a.attstattarget, -1) <> coalesce(b.attstattarget, -1)
    """
)

# The table is made in a schema of its own, where the privileges that the live table's schema gives
# by default do not count.
DEFAULT_PRIVILEGES = text(
    """
    WITH usual AS (
        SELECT acl.grantee, acl.privilege_type, acl.is_grantable
        FROM pg_default_acl, aclexplode(defaclacl) AS acl
        WHERE defaclrole = CAST(current_user AS regrole) AND defaclobjtype = 'r'
          AND defaclnamespace = to_regnamespace(:schema) AND acl.grantee <> defaclrole
        EXCEPT
        SELECT acl.grantee, acl.privilege_type, acl.is_grantable
        FROM pg_class, aclexplode(relacl) AS acl WHERE oid = to_regclass(:target)
    ),
    spelt AS (
        SELECT privilege_type AS privilege,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                   AS to_,
               CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
        FROM usual
    )
    SELECT 'grant ' || privilege || ' to ' || to_ || lower(option) || ', by default' AS what,
           format('GRANT %s ON TABLE %s TO %s%s', privilege, :target, to_, option) AS prepare
    FROM spelt ORDER BY 1
    """
)
"""The privileges of a table that is the first of its name."""

# In this order: first what rewrites the table, then settings, then what refers to indexes.
PREPARATIONS: tuple[TextClause, ...] = (
    ACCESS_METHOD,
    TABLESPACES,
    OPTIONS,
    COLUMNS,
    INDEX_SETTINGS,
    REPLICA_IDENTITY,
    CLUSTERED,
    COMMENTS,
    OWNERS_RIGHTS,
    GRANTS,
)
