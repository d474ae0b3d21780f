"""What the table that is to go live can be given before the swap, without stopping anybody."""

from __future__ import annotations

from sqlalchemy import TextClause, text

# Each row: what it is, and the statement that gives it to the target; none when it has it already.
# Without a target, only what there is.

GRANTS = text(
    """
    WITH tables AS (SELECT oid, relacl, relowner FROM pg_class WHERE oid = to_regclass(:live)),
    columns AS (SELECT attname, attacl, relowner FROM pg_attribute, tables
                WHERE attrelid = tables.oid AND attacl IS NOT NULL AND NOT attisdropped),
    kept AS (SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:target) AND attnum > 0
             AND NOT attisdropped),
    granted AS (
        SELECT NULL::name AS attname, acl.*, relowner FROM tables, aclexplode(relacl) AS acl
        UNION ALL
        SELECT attname, acl.*, relowner FROM columns, aclexplode(attacl) AS acl
        WHERE :target IS NULL OR attname IN (SELECT attname FROM kept)
    ),
    spelt AS (
        SELECT privilege_type || coalesce(' (' || quote_ident(attname) || ')', '') AS privilege,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                   AS to_,
               CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option, attname
        FROM granted WHERE grantee <> relowner
    )
    SELECT 'grant ' || privilege || ' to ' || to_ || lower(option) AS what,
           format('GRANT %s ON TABLE %s TO %s%s', privilege, :target, to_, option) AS prepare
    FROM spelt ORDER BY attname NULLS FIRST, 1
    """
)

# A table that was live before has grants that may have been revoked since.
REVOKES = text(
    """
    WITH target AS (SELECT oid, relacl, relowner FROM pg_class WHERE oid = to_regclass(:target)),
    grantees AS (
        SELECT grantee FROM target, aclexplode(relacl) WHERE grantee <> relowner
        UNION
        SELECT grantee FROM target JOIN pg_attribute a ON attrelid = target.oid, aclexplode(attacl)
        WHERE grantee <> relowner
    )
    SELECT CAST(NULL AS text) AS what,
           format('REVOKE ALL ON TABLE %s FROM %s CASCADE', :target,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
               AS prepare
    FROM grantees ORDER BY 2
    """
)

CONSTRAINTS = text(
    """
    SELECT 'constraint ' || quote_ident(c.conname) AS what,
           CASE WHEN n.oid IS NULL THEN
               format('ALTER TABLE %s ADD CONSTRAINT %I %s', :target, c.conname,
                      -- What refers to the live table itself refers to the new one.
                      CASE c.confrelid WHEN c.conrelid THEN
                          replace(pg_get_constraintdef(c.oid),
                                  ' REFERENCES ' || c.confrelid::regclass || '(',
                                  ' REFERENCES ' || :target || '(')
                      ELSE pg_get_constraintdef(c.oid) END) END AS prepare
    FROM pg_constraint c LEFT JOIN pg_constraint n
      ON n.conrelid = to_regclass(:target) AND n.conname = c.conname
    WHERE c.conrelid = to_regclass(:live) AND c.contype IN ('c', 'u', 'x', 'f')
      -- A foreign key is taken off when a table is replaced: it gets it back.
      AND (c.conname <> ALL (CAST(:declared AS text[])) OR c.contype = 'f' AND :same)
    ORDER BY c.conname
    """
)

INDEXES = text(
    """
    WITH by_hand AS (
        SELECT i.relname, x.*, pg_get_indexdef(i.oid) AS definition,
               ' ON ' || x.indrelid::regclass || ' USING ' AS place
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = to_regclass(:live) AND x.indisvalid
          AND i.relname <> ALL (CAST(:declared AS text[]))
          AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.oid)
    )
    SELECT 'index ' || quote_ident(b.relname) AS what,
           CASE WHEN n.oid IS NULL THEN
               format('CREATE %sINDEX %I ON %s USING ', CASE WHEN indisunique THEN 'UNIQUE ' END,
                      b.relname, :target)
               || substr(definition, strpos(definition, place) + length(place)) END AS prepare
    FROM by_hand b LEFT JOIN pg_class n
      ON n.relname = b.relname AND n.relkind = 'i'
     AND n.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:target))
    ORDER BY b.relname
    """
)

DEFAULTS = text(
    """
    SELECT 'default of ' || quote_ident(a.attname) AS what,
           format('ALTER TABLE %s ALTER %I SET DEFAULT %s', :target, a.attname,
                  pg_get_expr(d.adbin, d.adrelid)) AS prepare
    FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    JOIN pg_attribute n ON n.attrelid = to_regclass(:target) AND n.attname = a.attname
    LEFT JOIN pg_attrdef e ON e.adrelid = n.attrelid AND e.adnum = n.attnum
    WHERE a.attrelid = to_regclass(:live) AND a.attgenerated = '' AND n.attgenerated = ''
      AND (n.atttypid, n.atttypmod) = (a.atttypid, a.atttypmod)
      AND pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM pg_get_expr(e.adbin, e.adrelid)
    ORDER BY a.attname
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
    FROM options WHERE oid = to_regclass(:live)
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
        (CASE WHEN a.attnotnull AND NOT coalesce(n.attnotnull, true) AND :same
              THEN ARRAY['not null', 'SET NOT NULL'] END),
        (CASE WHEN a.attstorage <> coalesce(n.attstorage, t.typstorage)
              THEN ARRAY['storage', 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN'
                   WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END] END),
        (CASE WHEN a.attcompression <> coalesce(n.attcompression, '')
              THEN ARRAY['compression', 'SET COMPRESSION ' || CASE a.attcompression
                   WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END] END),
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
    SELECT 'replica identity' AS what,
           format('ALTER TABLE %s REPLICA IDENTITY %s', :target,
                  CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
                       WHEN 'i' THEN (SELECT format('USING INDEX %I', i.relname) FROM pg_index x
                                      JOIN pg_class i ON i.oid = x.indexrelid
                                      WHERE x.indrelid = c.oid AND x.indisreplident)
                       ELSE 'DEFAULT' END) AS prepare
    FROM pg_class c LEFT JOIN pg_class n ON n.oid = to_regclass(:target)
    WHERE c.oid = to_regclass(:live)
      AND (c.relreplident <> coalesce(n.relreplident, 'd') OR c.relreplident = 'i')
    """
)

CLUSTERED = text(
    """
    SELECT 'cluster on ' || quote_ident(i.relname) AS what,
           format('ALTER TABLE %s CLUSTER ON %I', :target, i.relname) AS prepare
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = to_regclass(:live) AND x.indisclustered
      AND (:target IS NULL OR i.relname <> ALL (CAST(:declared AS text[]))
           OR EXISTS (SELECT 1 FROM pg_index JOIN pg_class t ON t.oid = indexrelid
                      WHERE indrelid = to_regclass(:target) AND t.relname = i.relname))
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
    FROM live JOIN pg_constraint c ON c.conrelid = live.oid AND c.contype IN ('c','u','x','f','p')
    LEFT JOIN pg_constraint n ON n.conrelid = to_regclass(:target) AND n.conname = c.conname
    WHERE (n.oid IS NOT NULL OR c.conname <> ALL (CAST(:declared AS text[])) OR :target IS NULL)
      AND obj_description(c.oid, 'pg_constraint')
          IS DISTINCT FROM obj_description(n.oid, 'pg_constraint')
    ORDER BY 2
    """
)

# In this order: constraints and indexes before what refers to them.
PREPARING: tuple[TextClause, ...] = (
    OPTIONS,
    COLUMNS,
    CONSTRAINTS,
    INDEXES,
    REPLICA_IDENTITY,
    CLUSTERED,
    COMMENTS,
    REVOKES,
    GRANTS,
)

SAME_VERSION: tuple[TextClause, ...] = (DEFAULTS,)
"""Only between tables of one version: another version has defaults of its own."""
