"""A cheap mark of all that is attached to a table: another mark means that something changed."""

from __future__ import annotations


def fingerprint_statement(name: str) -> str:
    """A statement that makes one text value of the catalogue's rows about a table.

    A row's xmin changes with each change of the row, so the rows' contents need not be read. All
    look-ups go by index: the statement runs while readers are locked out.

    Args:
        name: The table, quoted.
    """
    oid = f"'{name.replace(chr(39), chr(39) * 2)}'::regclass"
    return f"""WITH t AS (SELECT oid, reltype, relnamespace, reltoastrelid FROM pg_class
                          WHERE oid = {oid}),
    hanging AS (
      SELECT d.classid, d.objid, d.objsubid, d.refobjsubid, d.deptype
      FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
      UNION ALL
      SELECT d.classid, d.objid, d.objsubid, -1, d.deptype
      FROM t JOIN pg_type y ON y.oid = t.reltype
      JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)
      UNION ALL
      SELECT d.refclassid, d.refobjid, d.refobjsubid, -2, d.deptype
      FROM t JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = t.oid
    ),
    relations AS (
      SELECT oid FROM t UNION SELECT reltoastrelid FROM t
      UNION SELECT indexrelid FROM t JOIN pg_index ON indrelid = t.oid
      UNION SELECT ev_class FROM hanging h JOIN pg_rewrite r
        ON h.classid = 'pg_rewrite'::regclass AND r.oid = h.objid
    ),
    marks (kind, a, b, c, mark) AS (
      SELECT 1, classid, objid, objsubid, concat(refobjsubid, deptype) FROM hanging
      UNION ALL SELECT 2, c.oid, 0, 0, c.xmin::text
        FROM relations r JOIN pg_class c ON c.oid = r.oid
      UNION ALL SELECT 3, attrelid, 0, attnum, a.xmin::text
        FROM relations r JOIN pg_attribute a ON attrelid = r.oid
      UNION ALL SELECT 4, indexrelid, 0, 0, x.xmin::text FROM t JOIN pg_index x ON indrelid = t.oid
      UNION ALL SELECT 5, c.oid, 0, 0, c.xmin::text FROM t JOIN pg_constraint c ON conrelid = t.oid
      UNION ALL SELECT 6, g.oid, 0, 0, g.xmin::text FROM t JOIN pg_trigger g ON tgrelid = t.oid
      UNION ALL SELECT 7, p.oid, 0, 0, p.xmin::text FROM t JOIN pg_policy p ON polrelid = t.oid
      UNION ALL SELECT 8, s.oid, 0, 0, s.xmin::text
        FROM t JOIN pg_statistic_ext s ON stxrelid = t.oid
      UNION ALL SELECT 9, r.oid, 0, 0, r.xmin::text
        FROM hanging h JOIN pg_rewrite r ON h.classid = 'pg_rewrite'::regclass AND r.oid = h.objid
      UNION ALL SELECT 10, d.objoid, d.classoid, d.objsubid, d.xmin::text
        FROM (SELECT DISTINCT classid, objid FROM hanging
              UNION SELECT 'pg_class'::regclass, oid FROM relations) AS h
        JOIN pg_description d ON (d.objoid, d.classoid) = (h.objid, h.classid)
      UNION ALL SELECT 11, l.objoid, l.classoid, l.objsubid, l.xmin::text
        FROM t JOIN pg_seclabel l ON (l.objoid, l.classoid) = (t.oid, 'pg_class'::regclass)
      UNION ALL SELECT 12, p.oid, p.prpubid, 0, p.xmin::text
        FROM t JOIN pg_publication_rel p ON prrelid = t.oid
      UNION ALL SELECT 13, p.oid, p.pnpubid, 0, p.xmin::text
        FROM t JOIN pg_publication_namespace p ON pnnspid = t.relnamespace
      UNION ALL SELECT 14, oid, 0, 0, xmin::text FROM pg_publication
    )
    SELECT md5(string_agg(concat_ws(',', kind, a, b, c, mark), ';' ORDER BY kind, a, b, c, mark))
    FROM marks"""
