"""What moves in the swap itself: views, triggers, policies, the owner, extended statistics."""

from __future__ import annotations

from sqlalchemy import TextClause, text

# Each row: what it is; what is done to the outgoing table; what to the one in its place.
# Definitions are taken while the live table has its name: later they would name the old one.

VIEWS = text(
    """
    SELECT DISTINCT 'view ' || v.oid::regclass AS what, CAST(NULL AS text) AS detach,
           'CREATE OR REPLACE VIEW ' || v.oid::regclass
           || coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', '')
           || ' AS ' || rtrim(pg_get_viewdef(v.oid), ';') AS attach
    FROM pg_depend d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' AND v.relpersistence = 'p'
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:live)
    ORDER BY 1
    """
)

TRIGGERS = text(
    """
    SELECT 'trigger ' || quote_ident(tgname) AS what,
           format('DROP TRIGGER %I ON %s', tgname, :live) AS detach,
           concat_ws('; ', pg_get_triggerdef(oid),
               CASE tgenabled WHEN 'O' THEN NULL ELSE format('ALTER TABLE %s %s TRIGGER %I', :live,
                   CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                                  ELSE 'ENABLE ALWAYS' END, tgname) END,
               format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, :live,
                      obj_description(oid, 'pg_trigger'))) AS attach
    FROM pg_trigger WHERE tgrelid = to_regclass(:live) AND NOT tgisinternal ORDER BY tgname
    """
)

POLICIES = text(
    """
    SELECT 'policy ' || quote_ident(polname) AS what,
           format('DROP POLICY %I ON %s', polname, :live) AS detach,
           format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', polname, :live,
               CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
               CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                           WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
               (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC'
                                       ELSE quote_ident(pg_get_userbyid(role)) END, ', ')
                FROM unnest(polroles) AS role))
           || coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', '')
           || coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', '')
           || format('; COMMENT ON POLICY %I ON %s IS %L', polname, :live,
                     obj_description(oid, 'pg_policy')) AS attach
    FROM pg_policy WHERE polrelid = to_regclass(:live) ORDER BY polname
    """
)

ROW_SECURITY = text(
    """
    SELECT 'row-level security' || CASE WHEN relforcerowsecurity THEN ', forced' ELSE '' END
               AS what,
           format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', :live)
               AS detach,
           concat_ws(', ', format('ALTER TABLE %s %s ROW LEVEL SECURITY', :live,
                         CASE WHEN relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END),
               CASE WHEN relforcerowsecurity THEN 'FORCE ROW LEVEL SECURITY' END) AS attach
    FROM pg_class WHERE oid = to_regclass(:live) AND (relrowsecurity OR relforcerowsecurity)
    """
)

STATISTICS = text(
    """
    SELECT 'statistics ' || quote_ident(stxname) AS what,
           format('DROP STATISTICS %I.%I', nspname, stxname) AS detach,
           concat_ws('; ', pg_get_statisticsobjdef(s.oid),
               CASE WHEN coalesce(stxstattarget, -1) <> -1 THEN
                   format('ALTER STATISTICS %I.%I SET STATISTICS %s', nspname, stxname,
                          stxstattarget) END,
               CASE WHEN obj_description(s.oid, 'pg_statistic_ext') IS NOT NULL THEN
                   format('COMMENT ON STATISTICS %I.%I IS %L', nspname, stxname,
                          obj_description(s.oid, 'pg_statistic_ext')) END,
               CASE WHEN pg_get_userbyid(stxowner) <> current_user THEN
                   format('ALTER STATISTICS %I.%I OWNER TO %I', nspname, stxname,
                          pg_get_userbyid(stxowner)) END) AS attach
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace
    WHERE stxrelid = to_regclass(:live) ORDER BY stxname
    """
)

# A table that is only kept must not stop anybody from deleting rows that it refers to.
FOREIGN_KEYS = text(
    """
    SELECT CAST(NULL AS text) AS what, format('ALTER TABLE %s DROP CONSTRAINT %I', :live, conname)
           AS detach, CAST(NULL AS text) AS attach
    FROM pg_constraint WHERE conrelid = to_regclass(:live) AND contype = 'f' ORDER BY conname
    """
)

OWNER = text(
    """
    SELECT CASE WHEN pg_get_userbyid(relowner) <> current_user
                THEN 'owner ' || quote_ident(pg_get_userbyid(relowner)) END AS what,
           CAST(NULL AS text) AS detach,
           format('ALTER TABLE %s OWNER TO %I', :live, pg_get_userbyid(relowner)) AS attach
    FROM pg_class WHERE oid = to_regclass(:live)
    """
)

# Rights that somebody has taken from the owner, who has all of them otherwise.
OWNERS_RIGHTS = text(
    """
    SELECT privilege_type || ' taken from the owner' AS what, CAST(NULL AS text) AS detach,
           format('REVOKE %s ON TABLE %s FROM %I', privilege_type, :live,
                  pg_get_userbyid(relowner)) AS attach
    FROM pg_class, aclexplode(acldefault('r', relowner)) AS all_rights
    WHERE oid = to_regclass(:live) AND relacl IS NOT NULL AND NOT EXISTS (
        SELECT FROM aclexplode(relacl) AS acl
        WHERE acl.grantee = relowner AND acl.privilege_type = all_rights.privilege_type)
    ORDER BY 1
    """
)

# The owner comes last: the statements before may need the rights of the role that swaps.
MOVES: tuple[TextClause, ...] = (
    FOREIGN_KEYS,
    VIEWS,
    TRIGGERS,
    POLICIES,
    ROW_SECURITY,
    STATISTICS,
    OWNER,
    OWNERS_RIGHTS,
)

# What a table belongs to by its place alone. Nothing has to be done here, only by subscribers.
PUBLISHED = text(
    """
    SELECT 'publication ' || quote_ident(pubname) || ' of all tables' AS what,
           'publication ' || quote_ident(pubname) || ' is FOR ALL TABLES: a subscriber stops at '
           || 'the first row of a table that it does not have, such as each new generation: '
           || 'publish schemas or tables instead' AS note
    FROM pg_publication
    WHERE puballtables AND to_regclass(:live) IS NOT NULL
    UNION ALL
    SELECT 'publication ' || quote_ident(pubname) || ' of all tables of the schema',
           'publication ' || quote_ident(pubname) || ' is FOR TABLES IN SCHEMA: its subscribers '
           || 'are not sent the rows of the new table, and REFRESH does not fetch them: after the '
           || 'swap they have to drop the subscription, TRUNCATE their tables and subscribe anew'
    FROM pg_publication p JOIN pg_publication_namespace n ON n.pnpubid = p.oid
    JOIN pg_class c ON c.relnamespace = n.pnnspid WHERE c.oid = to_regclass(:live)
    ORDER BY 1
    """
)
