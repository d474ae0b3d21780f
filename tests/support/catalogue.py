"""All that the catalogue says of a table, in words, to be compared before and after a swap."""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SNAPSHOT = text(
    """
    WITH t AS (SELECT * FROM pg_class WHERE oid = to_regclass(:name)),
    cols AS (SELECT a.* FROM pg_attribute a, t WHERE attrelid = t.oid AND attnum > 0
             AND NOT attisdropped)
    SELECT concat_ws(' ', 'owner', pg_get_userbyid(relowner), relrowsecurity, relforcerowsecurity,
                     relreplident, relpersistence, amname, spcname)
    FROM t LEFT JOIN pg_am m ON m.oid = relam LEFT JOIN pg_tablespace s ON s.oid = reltablespace
    UNION ALL
    SELECT concat_ws(' ', 'right of the owner', privilege_type)
    FROM t, aclexplode(coalesce(relacl, acldefault('r', relowner))) WHERE grantee = relowner
    UNION ALL
    SELECT concat_ws(' ', 'settings of index', i.relname, i.reloptions, spcname,
                     (SELECT array_agg(coalesce(attstattarget, -1) ORDER BY attnum)
                      FROM pg_attribute WHERE attrelid = i.oid))
    FROM t JOIN pg_index ON indrelid = t.oid JOIN pg_class i ON i.oid = indexrelid
    LEFT JOIN pg_tablespace s ON s.oid = i.reltablespace
    UNION ALL
    SELECT concat_ws(' ', 'acl', attname, pg_get_userbyid(grantee), privilege_type, is_grantable)
    FROM (SELECT NULL::name AS attname, a.* FROM t, aclexplode(relacl) AS a
          UNION ALL SELECT attname, a.* FROM cols, aclexplode(attacl) AS a) AS x, t
    WHERE grantee <> relowner  -- the owner's own are there whether they are spelt out or not
    UNION ALL
    SELECT concat_ws(' ', 'column', attname, format_type(atttypid, atttypmod), attnotnull,
                     coalesce(attstattarget, -1), attstorage, attcompression, attoptions) FROM cols
    UNION ALL
    SELECT concat_ws(' ', 'default', attname, pg_get_expr(adbin, adrelid))
    FROM cols JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL SELECT concat('option ', unnest(reloptions)) FROM t
    UNION ALL SELECT concat('toast option ', unnest(s.reloptions)) FROM t JOIN pg_class s
              ON s.oid = t.reltoastrelid
    UNION ALL
    SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisreplident, indisclustered,
                     obj_description(indexrelid, 'pg_class')) FROM pg_index, t
    WHERE indrelid = t.oid
    UNION ALL
    SELECT concat_ws(' ', 'constraint', conname, pg_get_constraintdef(c.oid),
                     obj_description(c.oid, 'pg_constraint'))
    FROM pg_constraint c, t WHERE conrelid = t.oid
    UNION ALL
    SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(g.oid), tgenabled,
                     obj_description(g.oid, 'pg_trigger'))
    FROM pg_trigger g, t WHERE tgrelid = t.oid AND NOT tgisinternal
    UNION ALL
    SELECT concat_ws(' ', 'policy', polname, polcmd, polpermissive, polroles,
                     pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid),
                     obj_description(p.oid, 'pg_policy'))
    FROM pg_policy p, t WHERE polrelid = t.oid
    UNION ALL
    SELECT concat_ws(' ', 'comment', objsubid, description) FROM pg_description, t
    WHERE classoid = 'pg_class'::regclass AND objoid = t.oid
    UNION ALL
    SELECT concat_ws(' ', 'statistics', pg_get_statisticsobjdef(s.oid), stxstattarget,
                     pg_get_userbyid(stxowner), obj_description(s.oid, 'pg_statistic_ext'))
    FROM pg_statistic_ext s, t WHERE stxrelid = t.oid
    UNION ALL
    SELECT concat_ws(' ', 'published', pubname, schemaname, attnames, rowfilter)
    FROM pg_publication_tables WHERE (schemaname, tablename) = (:schema, 'counters')
    UNION ALL
    SELECT concat_ws(' ', 'view', v.oid, v.oid::regclass, pg_get_viewdef(v.oid), v.relowner,
                     v.relacl, v.reloptions, obj_description(v.oid, 'pg_class'))
    FROM pg_class v WHERE v.relkind = 'v' AND v.relnamespace = (SELECT relnamespace FROM t)
    ORDER BY 1
    """
)


async def snapshot(connection: AsyncConnection, schema: str = "public") -> list[str]:
    """What is attached to the table ``counters`` of a schema, and on the views of its schema."""
    place = {"name": f"{schema}.counters", "schema": schema}
    return list((await connection.execute(_SNAPSHOT, place)).scalars())


async def placeless(connection: AsyncConnection, schema: str) -> list[str]:
    """The same without the schema's name and without object ids, to compare two schemas."""
    await connection.execute(text(f"SET LOCAL search_path = {schema}"))
    lines = await snapshot(connection, schema)
    place = re.compile(rf"^(view) \d+|\b({schema}|public)\.")
    return sorted(place.sub(lambda found: found[1] or "", line) for line in lines)
