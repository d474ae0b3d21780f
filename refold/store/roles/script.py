"""The SQL that makes the roles and gives each what it needs; it may be applied again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from refold.store.roles.names import Roles
from refold.store.roles.rights import table_rights
from refold.store.schema import SCHEMA


@dataclass(frozen=True)
class Scope:
    """What the roles of an installation are for.

    Attributes:
        schemas: Where projections declare their tables, beside those where such tables stand.
        mirrors: Whether workers copy events into Refold's own table.
        reads: Other tables that workers and operators read, as schema and name.
        refers: Other tables that read models refer to by foreign keys, as schema and name.
    """

    schemas: Sequence[str] = ("public",)
    mirrors: bool = False
    reads: Sequence[tuple[str, str]] = ()
    refers: Sequence[tuple[str, str]] = ()


def roles_script(roles: Roles, scope: Scope) -> str:
    """The whole script, for psql or any other client; it is one transaction.

    It is applied by a superuser, or by the owner of the database who may create roles. Rights of
    these roles on Refold's own tables that are not in it are taken away.
    """
    parts = (_HEAD, _ROLES, _DATABASE, _SCHEMA, _REVOKED, _GRANTED, _READ_MODELS, _OTHERS, _TAIL)
    text = "".join(parts)
    values = _values(roles, mirrors=scope.mirrors)
    names = {name: _literal(getattr(roles, name)) for name in _NAMES}
    filled = {
        **names,
        "all": _array(roles.all),
        "rights": values,
        "schemas": _array(scope.schemas),
        "reads": _pairs(scope.reads),
        "refers": _pairs(scope.refers),
        "refold": SCHEMA,
    }
    for name, value in filled.items():
        text = text.replace(f"<<{name}>>", value)
    return text


def grants_statement(roles: Roles) -> str:
    """The grants on Refold's own tables alone: what the migrator gives when there are new ones."""
    values = _values(roles, mirrors=False)
    text = f"DO $refold$\nDECLARE\n    one record;\nBEGIN\n{_GRANTED}END\n$refold$"
    return text.replace("<<rights>>", values).replace("<<refold>>", SCHEMA)


_NAMES = ("migrator", "worker", "operator", "reader", "appender")


def _values(roles: Roles, *, mirrors: bool) -> str:
    rows = (
        f"({_literal(one.role)}, {_literal(one.table)}, {_literal(', '.join(one.rights))})"
        for one in table_rights(roles, mirrors=mirrors)
    )
    return ",\n            ".join(rows)


def _literal(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"E'{escaped}'".replace("\\", "\\\\") if "\\" in value else f"'{escaped}'"


def _array(values: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(map(_literal, values))}]::text[]"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = ", ".join(f"({_literal(schema)}, {_literal(table)})" for schema, table in pairs)
    return f"(VALUES {rows})" if rows else "(SELECT NULL, NULL WHERE false)"


_HEAD = """\
-- The roles of Refold, each with the rights that it needs and no more.
-- Apply it to the database of the read models, as a superuser or as the database's owner who may
-- create roles. It may be applied again, and should be after Refold was upgraded.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL search_path = pg_catalog;

DO $refold$
DECLARE
    roles text[] := <<all>>;
    migrator text := <<migrator>>;
    worker text := <<worker>>;
    operator text := <<operator>>;
    reader text := <<reader>>;
    appender text := <<appender>>;
    place text;
    one record;
BEGIN
"""

_ROLES = """\
    -- They log in once they have a password: ALTER ROLE … PASSWORD '…'.
    FOREACH place IN ARRAY roles LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = place) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', place);
        END IF;
    END LOOP;
    -- Who gives something away must be able to become its next owner.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT %I, %I TO %I', migrator, worker, current_user);
    END IF;
    -- Who holds the head of the log, and since when, is hidden from other roles without it.
    BEGIN
        EXECUTE format('GRANT pg_read_all_stats TO %I, %I', worker, operator);
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'pg_read_all_stats is not granted (%): health cannot say since when somebody '
            'holds the log up', SQLERRM;
    END;

"""

_DATABASE = """\
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I, %I, %I, %I, %I', current_database(),
        migrator, worker, operator, reader, appender);
    -- Each generation of a read model has a schema of its own.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), worker);
    -- To read a snapshot that is kept as changes.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), operator);

"""

_SCHEMA = """\
    IF to_regnamespace('<<refold>>') IS NULL THEN
        CREATE SCHEMA <<refold>>;
    END IF;
    IF (SELECT nspowner::regrole::text <> quote_ident(migrator) FROM pg_namespace
        WHERE nspname = '<<refold>>') THEN
        EXECUTE format('ALTER SCHEMA <<refold>> OWNER TO %I', migrator);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA <<refold>> TO %I, %I, %I', worker, operator, appender);
    -- The keys of a run whose key is a function are kept in tables that it makes there.
    EXECUTE format('GRANT CREATE ON SCHEMA <<refold>> TO %I', worker);
    FOR one IN SELECT c.oid::regclass AS name, o.owner FROM pg_class c,
            LATERAL (SELECT CASE c.relpersistence WHEN 'u' THEN worker ELSE migrator END AS owner) o
        WHERE c.relnamespace = '<<refold>>'::regnamespace AND c.relkind IN ('r', 'p')
          AND pg_get_userbyid(c.relowner) <> o.owner
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', one.name, one.owner);
    END LOOP;

"""

_REVOKED = """\
    FOR one IN SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = '<<refold>>'::regnamespace AND relkind IN ('r', 'p')
          AND relpersistence = 'p'
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I, %I, %I, %I', one.name,
            worker, operator, reader, appender);
    END LOOP;
"""

_GRANTED = """\
    FOR one IN SELECT * FROM (VALUES
            <<rights>>
        ) AS given (role, name, rights)
        WHERE to_regclass(format('<<refold>>.%I', name)) IS NOT NULL
          AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role)
    LOOP
        EXECUTE format('GRANT %s ON <<refold>>.%I TO %I', one.rights, one.name, one.role);
    END LOOP;
"""

_READ_MODELS = """\

    CREATE TEMPORARY TABLE refold_made ON COMMIT DROP AS
        SELECT NULL::text AS schema, NULL::text AS name, NULL::boolean AS live WHERE false;
    IF to_regclass('<<refold>>.generations') IS NOT NULL THEN
        INSERT INTO pg_temp.refold_made SELECT schema_name, table_name, status = 'active'
        FROM <<refold>>.generations WHERE status <> 'discarded' AND to_regclass(
            format('%I.%I', schema_name, table_name)) IS NOT NULL;
    END IF;
    -- Where readers find read models: workers put them there, and whoever may read may read what
    -- workers make there later.
    FOR place IN SELECT unnest(<<schemas>>) UNION SELECT schema FROM pg_temp.refold_made WHERE live
    LOOP
        IF to_regnamespace(quote_ident(place)) IS NULL THEN
            EXECUTE format('CREATE SCHEMA %I', place);
        END IF;
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', place, worker);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', place, operator, reader);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT SELECT ON TABLES '
            'TO %I', worker, place, reader);
    END LOOP;
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT SELECT ON TABLES TO %I',
        worker, operator);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT USAGE ON SCHEMAS TO %I',
        worker, operator);
    -- What was made before there were roles. Whose owner the workers are a member of stays.
    FOR one IN SELECT schema, name, live FROM pg_temp.refold_made LOOP
        IF NOT one.live THEN
            EXECUTE format('ALTER SCHEMA %I OWNER TO %I', one.schema, worker);
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', one.schema, operator);
        END IF;
        IF (SELECT NOT pg_has_role(worker, relowner, 'MEMBER') FROM pg_class
            WHERE oid = to_regclass(format('%I.%I', one.schema, one.name))) THEN
            EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', one.schema, one.name, worker);
        END IF;
        EXECUTE format('GRANT SELECT ON %I.%I TO %I', one.schema, one.name, operator);
        IF one.live THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', one.schema, one.name, reader);
        END IF;
    END LOOP;
"""

_OTHERS = """\

    -- Where events are that are not Refold's own, and what else read models are made of.
    FOR one IN SELECT * FROM <<reads>> AS other (schema, name) LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', one.schema, worker, operator);
        EXECUTE format('GRANT SELECT ON %I.%I TO %I, %I', one.schema, one.name, worker, operator);
    END LOOP;
    FOR one IN SELECT * FROM <<refers>> AS other (schema, name) LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', one.schema, worker);
        EXECUTE format('GRANT REFERENCES ON %I.%I TO %I', one.schema, one.name, worker);
    END LOOP;
"""

_TAIL = """\
END
$refold$;

COMMIT;
"""
