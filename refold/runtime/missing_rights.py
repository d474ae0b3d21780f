"""Names the right that a role lacks when PostgreSQL refuses a statement, and what gives it.

PostgreSQL says only of which object, such as "permission denied for table runs". What the statement
needs is read from the statement; which of it is lacking, and who is asking, the catalogue knows.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.errors import RightDenied
from refold.runtime.database import DATABASE_ERRORS, autocommit, beside, server_error
from refold.runtime.judgement import refusal

_DENIED = re.compile(r'permission denied for (?P<kind>[a-z ]+?) "?(?P<name>[^"]+)"?$')
_NOT_OWNER = re.compile(r'must be owner of (?P<kind>[a-z ]+?) "?(?P<name>[^"]+)"?$')
_CONNECT = ("CONNECT",)
_NO_TEMPORARY = "permission denied to create temporary tables in database"

_OF_RELATIONS = {"table", "view", "materialized view", "foreign table", "relation"}
_OF_OTHERS = {
    "schema": ("has_schema_privilege", "to_regnamespace(quote_ident(:name))"),
    "database": ("has_database_privilege", "CAST(:name AS text)"),
    "tablespace": ("has_tablespace_privilege", "CAST(:name AS text)"),
    "type": ("has_type_privilege", "to_regtype(:name)"),
}
_MAY = {
    "database": ("CREATE",),
    # To use a schema is less than to make things in it, and needed first.
    "schema": ("USAGE", "CREATE"),
    "tablespace": ("CREATE",),
    "type": ("USAGE",),
}


@dataclass(frozen=True)
class Denied:
    """What PostgreSQL has refused.

    Attributes:
        kind: Of object, such as ``table``.
        name: Its name, without a schema.
        schema: Where the statement says that it is; None where it does not.
        rights: One or more of these are lacking; none when its owner must do it.
    """

    kind: str
    name: str
    rights: tuple[str, ...]
    schema: str | None = None


def what_is_denied(error: BaseException) -> Denied | None:
    """What an error refuses for want of a right; None when it says something else."""
    refused = server_error(error)
    if not isinstance(refused, asyncpg.InsufficientPrivilegeError) or not refused.args:
        return None
    said, statement = str(refused.args[0]), getattr(refused, "query", None)
    if refused.detail is not None and "CONNECT privilege" in refused.detail:
        return Denied("database", said.split('"')[1], _CONNECT)
    if said.startswith(_NO_TEMPORARY):
        return Denied("database", said.split('"')[1], ("TEMPORARY",))
    if (owned := _NOT_OWNER.fullmatch(said)) is not None:
        return Denied(owned["kind"], owned["name"], (), _schema_in(statement, owned["name"]))
    if (denied := _DENIED.fullmatch(said)) is not None:
        kind, name = denied["kind"], denied["name"]
        rights = _needed(statement, name) if kind in _OF_RELATIONS else _MAY.get(kind)
        return Denied(kind, name, rights, _schema_in(statement, name)) if rights else None
    return None


def _schema_in(statement: str | None, table: str) -> str | None:
    named = re.search(rf'"?(\w+)"?\."?{re.escape(table)}"?(?!\w)', statement or "")
    return named[1] if named is not None else None


def _needed(statement: str | None, name: str) -> tuple[str, ...]:
    """What a statement needs of a table: of others that it names, it may need something else."""
    if statement is None:
        return ("INSERT",)  # COPY … FROM, of which the driver keeps no text
    table = rf'(?:ONLY\s+)?(?:"?\w+"?\.)?"?{re.escape(name)}"?(?!\w)'

    def has(pattern: str) -> bool:
        return re.search(pattern, statement, re.IGNORECASE | re.DOTALL) is not None

    changes = has(rf"\bUPDATE\s+{table}")
    adds = has(rf"\bINSERT\s+INTO\s+{table}") or has(rf"\bCOPY\s+{table}.*\bFROM\b")
    takes = has(rf"\bDELETE\s+FROM\s+{table}")
    locks = has(r"\bFOR\s+(NO\s+KEY\s+|KEY\s+)?(UPDATE|SHARE)\b")
    upserts = adds and _upserts(statement, table)
    reads = has(rf"(?<!DELETE\s)(?:\bFROM|\bJOIN|\bUSING|,)\s*{table}") or changes or takes
    given = {
        "SELECT": reads or upserts or (adds and has(r"\bRETURNING\b|\bON\s+CONFLICT\b")),
        "INSERT": adds,
        "UPDATE": changes or upserts or (locks and not adds),
        "DELETE": takes,
        "TRUNCATE": has(rf"\bTRUNCATE\s+(?:TABLE\s+)?{table}"),
    }
    return tuple(right for right, needed in given.items() if needed) or ("SELECT",)


def _upserts(statement: str, table: str) -> bool:
    """Whether the part of a statement that adds to this table changes what is there."""
    added = re.split(rf"\bINSERT\s+INTO\s+{table}", statement, maxsplit=1, flags=re.IGNORECASE)
    own = re.split(r"\bINSERT\s+INTO\b", added[-1], maxsplit=1, flags=re.IGNORECASE)[0]
    return re.search(r"\bDO\s+UPDATE\b", own, re.IGNORECASE) is not None


_RELATION = text(
    """
    SELECT quote_ident(current_user) AS role, format('%I.%I', n.nspname, c.relname) AS name,
           quote_ident(pg_get_userbyid(c.relowner)) AS owner,
           ARRAY(SELECT p FROM unnest(CAST(:rights AS text[])) AS p
                 WHERE NOT has_table_privilege(c.oid, p)) AS lacking,
           pg_has_role(c.relowner, 'USAGE') AS is_own
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname !~ '^(pg_|information_schema$)'
    ORDER BY n.nspname IS NOT DISTINCT FROM CAST(:schema AS text) DESC,
             n.nspname = 'refold' DESC, 2
    """
)


async def with_right_named(engine: AsyncEngine, error: Exception) -> Exception:
    """The error, or one that names what role lacks which right, and the statement that gives it.

    Args:
        engine: Where it was refused; databases that are read beside it are looked at, too.
        error: What was raised.
    """
    denied = what_is_denied(error)
    refused = server_error(error)
    if denied is None or refused is None:
        return error
    if denied.rights == _CONNECT:
        return RightDenied(f"PostgreSQL: {refusal(refused)}: {_not_let_in(engine, denied)}")
    for one in (engine, *beside(engine).engines.values()):
        try:
            said = await _lacking(one, denied)
        except DATABASE_ERRORS:
            said = None
        if said is not None:
            return RightDenied(f"PostgreSQL: {refusal(refused)}: {said}")
    return error


@asynccontextmanager
async def naming_rights(engine: AsyncEngine) -> AsyncIterator[None]:
    """What is refused within it for want of a right is raised as `RightDenied`."""
    try:
        yield
    except DATABASE_ERRORS as error:
        named = await with_right_named(engine, error)
        if named is error:
            raise
        raise named from error


def _not_let_in(engine: AsyncEngine, denied: Denied) -> str:
    # Who may not connect cannot ask the catalogue; the address says who it is.
    role, name = str(engine.url.username or "of this process"), denied.name
    return _not_granted(role, "CONNECT", f"database {name}", f"DATABASE {name}")


async def _lacking(engine: AsyncEngine, denied: Denied) -> str | None:
    looking = autocommit(engine)
    async with looking.connect() as connection:
        if denied.kind in _OF_RELATIONS:
            return await _lacking_on_relation(connection, denied)
        if denied.kind in _OF_OTHERS and denied.rights:
            return await _lacking_on_other(connection, denied)
        return None


async def _lacking_on_relation(connection: AsyncConnection, denied: Denied) -> str | None:
    parameters = {"name": denied.name, "rights": list(denied.rights), "schema": denied.schema}
    for found in await connection.execute(_RELATION, parameters):
        if not denied.rights and not found.is_own:
            return _not_owned(found.role, f"{denied.kind} {found.name}", found.owner)
        if found.lacking:
            return _not_granted(found.role, ", ".join(found.lacking), found.name, found.name)
    return None


async def _lacking_on_other(connection: AsyncConnection, denied: Denied) -> str | None:
    function, place = _OF_OTHERS[denied.kind]
    statement = text(
        "SELECT quote_ident(current_user) AS role, quote_ident(:name) AS name, "
        "ARRAY(SELECT p FROM unnest(CAST(:rights AS text[])) AS p "
        f"WHERE NOT {function}({place}, p)) AS lacking"
    )
    parameters = {"name": denied.name, "rights": list(denied.rights)}
    found = (await connection.execute(statement, parameters)).one()
    if not found.lacking:
        return None
    kind = denied.kind
    what, place = f"{kind} {found.name}", f"{kind.upper()} {found.name}"
    return _not_granted(found.role, found.lacking[0], what, place)


def _not_granted(role: str, rights: str, what: str, place: str) -> str:
    return f"role {role} lacks {rights} on {what}: GRANT {rights} ON {place} TO {role}"


def _not_owned(role: str, what: str, owner: str) -> str:
    kind, name = what.split(" ", 1)
    return (
        f"role {role} does not own {what}, {owner} does: GRANT {owner} TO {role}, or ALTER "
        f"{kind.upper()} {name} OWNER TO {role}"
    )
