"""A cheap mark of all that hangs on a table: another mark means that something has changed."""

from __future__ import annotations


def fingerprint_statement(name: str) -> str:
    """A statement for one text value over the catalogue's rows about a table.

    A row's xmin changes with each change of it, so nothing need be read of what the rows say.
    All look-ups go by index; it is run while readers are locked out.

    Args:
        name: The table, quoted.
    """
    oid = f"'{name.replace(chr(39), chr(39) * 2)}'::regclass"

    def marks(table: str, key: str) -> str:
        return f"(SELECT string_agg(xmin::text, ',' ORDER BY oid) FROM {table} WHERE {key} = {oid})"

    return f"""SELECT md5(concat_ws('|',
      {marks("pg_class", "oid")}, {marks("pg_trigger", "tgrelid")},
      {marks("pg_policy", "polrelid")},
      (SELECT string_agg(xmin::text, ',' ORDER BY attnum) FROM pg_attribute
       WHERE attrelid = {oid}),
      (SELECT string_agg(xmin::text, ',' ORDER BY objsubid) FROM pg_description
       WHERE classoid = 'pg_class'::regclass AND objoid = {oid}),
      (SELECT string_agg(concat_ws(',', d.classid, d.objid, d.refobjsubid, d.deptype, r.xmin), ';'
                         ORDER BY d.classid, d.objid, d.refobjsubid)
       FROM pg_depend d LEFT JOIN pg_rewrite r
         ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
       WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = {oid})))"""
