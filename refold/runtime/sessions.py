"""Sessions with PostgreSQL that are alike, whatever a role or a database sets, and behind a pooler.

What ``ALTER ROLE … SET`` and ``ALTER DATABASE … SET`` say is for others: it must neither end
Refold's statements nor change what its handlers see. A pooler such as PgBouncer may give each
transaction another session of the server: there, each transaction brings its settings along, and
nothing is kept in a session.
"""

from __future__ import annotations

import getpass
import os
import re
import socket as sockets
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from refold.errors import ConfigurationError
from refold.runtime.database_url import DatabaseUrl
from refold.runtime.driver import DriverConnection, read_into_one_buffer

SETTINGS: Mapping[str, str] = {
    # What handlers and comparisons see.
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "xmloption": "content",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "gin_fuzzy_search_limit": "0",
    # Where names without a schema are looked for; where tables are is said in full.
    "search_path": "public",
    "row_security": "on",
    # How transactions are, and how long they may take.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "exit_on_error": "off",
}
"""What each session has, whatever its role or database sets."""

_LATER: Mapping[str, int] = {"idle_session_timeout": 14, "transaction_timeout": 17}
# An address may say where names are looked for: it is the deployment's own word.
_FROM_OPTIONS = "search_path"
_UNSUPPORTED_STARTUP = "unsupported startup parameter"


class PooledConnection(DriverConnection):
    """A connection to a pooler: each transaction brings its settings along."""

    settings_statement = ""

    async def prepare(self, query: str, **how: Any) -> Any:
        """As asyncpg's; without a name, as a name lasts beyond the transaction."""
        return await super().prepare(query, **{**how, "name": ""})

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As asyncpg's; a transaction begins with its settings, in the same round trip."""
        if not args and query.startswith("BEGIN"):
            if "ISOLATION LEVEL" not in query:
                query = query.replace("BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED", 1)
            if "DEFERRABLE" not in query:
                query = query.replace(";", " NOT DEFERRABLE;", 1)
            query += self.settings_statement
        return str(await super().execute(query, *args, timeout=timeout))


def is_pooled(connection: asyncpg.Connection[Any]) -> bool:
    """Whether a pooler is in between: then no session state lasts beyond a transaction."""
    # asyncpg's own metaclass takes every connection for an instance of each subclass.
    return issubclass(type(connection), PooledConnection)


class Connector:
    """Opens connections to one address, all with the same settings.

    Args:
        url: The address.
        writes: Whether a standby is refused, where the address does not say otherwise: it also
            sees nothing of those who may still append.
        variable: What messages call it.
        of_several: Which of several hosts is taken, where the address does not say otherwise.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        writes: bool = True,
        variable: str = "REFOLD_DATABASE_URL",
        of_several: str = "read-write",
    ) -> None:
        self._url = url
        self._writes = writes
        self._of_several = of_several
        self._variable = variable
        self._settings = _settings(url)
        self._pooled: bool | None = None
        self._first: asyncpg.Connection[Any] | None = None

    async def connect(self) -> asyncpg.Connection[Any]:
        """A new connection.

        Raises:
            ConfigurationError: A parameter of the address cannot work here.
            OSError, asyncpg.PostgresError: The server does not answer, or refuses.
        """
        pooled = await self.is_pooled()
        first, self._first = self._first, None
        connection = first or await self._open(pooled=pooled)
        try:
            await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def is_pooled(self) -> bool:
        """Whether a pooler is in between, found out once; raises what `connect` does."""
        if self._pooled is None:
            self._pooled = await self._look()
        return self._pooled

    async def _look(self) -> bool:
        try:
            connection = await self._open(pooled=False)
        except asyncpg.ProtocolViolationError as error:
            if _UNSUPPORTED_STARTUP in str(error):  # PgBouncer's words
                return True
            raise
        try:
            # A pooler makes up a process id of its own when it greets its clients.
            pid = await connection.fetchval("SELECT pg_catalog.pg_backend_pid()")
            pooled = bool(pid != connection.get_server_pid())
            if pooled:  # it was opened as no connection to a pooler is
                await connection.close(timeout=_CLOSE_SECONDS)
            else:
                self._first = connection
        except BaseException:
            connection.terminate()
            raise
        return pooled

    async def _open(self, *, pooled: bool) -> asyncpg.Connection[Any]:
        url = self._url
        startup = {"application_name": url.application_name}
        if url.options and not (pooled and _only_settings(url.options)):
            startup["options"] = url.options
        if not pooled:
            startup |= self._settings
        how: dict[str, Any] = {
            "host": list(url.hosts) or None,
            "port": list(url.ports) or None,
            "user": url.user,
            "password": url.password,
            "database": url.database,
            "timeout": url.connect_seconds,
            "statement_cache_size": 0 if pooled else 100,
            "server_settings": startup,
            "connection_class": PooledConnection if pooled else DriverConnection,
            **self._more(),
        }
        try:
            connection: asyncpg.Connection[Any] = await asyncpg.connect(url.dsn, **how)
            return connection
        except asyncpg.TargetServerAttributeNotMatched as error:
            raise ConnectionError(f"none of {url.where} takes writes now: {error}") from None
        except _WRONG_SETTING as error:
            if not url.options:
                raise
            raise ConfigurationError(f"{self._variable}: parameter options: {error}") from None
        except ssl.SSLError:
            raise  # a certificate that is not believed is a ValueError, too, and may be renewed
        except ValueError as error:  # of the address, of PG… variables or of a service's file
            raise ConfigurationError(f"{self._variable}: {error}") from None

    def _more(self) -> dict[str, Any]:
        more: dict[str, Any] = {}
        driver = dict(self._url.driver)
        if "target_session_attrs" not in driver and "PGTARGETSESSIONATTRS" not in os.environ:
            if len(self._url.hosts) > 1:
                more["target_session_attrs"] = self._of_several  # after a failover, another one
            elif self._writes:
                more["target_session_attrs"] = "primary"
        if self._url.user is None and not os.environ.get("PGUSER"):
            try:
                getpass.getuser()
            except (KeyError, OSError):  # the process's account has no name
                raise ConfigurationError(f"{self._variable}: expected a user, got none") from None
        for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
            if name in driver and not Path(driver[name]).is_file():
                raise ConfigurationError(
                    f"{self._variable}: parameter {name}: expected a file, there is none at "
                    f"{driver[name]!r}"
                )
        return more

    async def _prepare(self, connection: asyncpg.Connection[Any]) -> None:
        _set_socket(connection, self._url.socket)
        read_into_one_buffer(connection)
        version = connection.get_server_version().major
        later = {name: "0" for name, since in _LATER.items() if version >= since}
        if is_pooled(connection):
            pooled: Any = connection
            pooled.settings_statement = _statements(
                {**_from_options(self._url.options), **self._settings, **later}, local=True
            )
        elif later:
            await connection.execute(_statements(later, local=False))


_CLOSE_SECONDS = 5.0
_WRONG_SETTING = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
)


def _settings(url: DatabaseUrl) -> dict[str, str]:
    given = _from_options(url.options)
    own = dict(SETTINGS)
    if _FROM_OPTIONS in given:
        own[_FROM_OPTIONS] = given[_FROM_OPTIONS]
    return own


def _statements(settings: Mapping[str, str], *, local: bool) -> str:
    """Statements that take no snapshot: a transaction may be waiting to take its own later."""
    verb = "SET LOCAL" if local else "SET"
    return "".join(f"{verb} {name} = {_listed(name, s)};" for name, s in settings.items())


# Each item of these lists is quoted on its own; other lists are quoted as one word.
_LISTS = ("search_path", "temp_tablespaces")


def _listed(name: str, value: str) -> str:
    if name not in _LISTS:
        return _literal(value)
    items = re.findall(r'"((?:[^"]|"")*)"|([^",\s]+)', value)
    named = [_literal(quoted.replace('""', '"') or plain.lower()) for quoted, plain in items]
    return ", ".join(named) or "''"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


_SETTING = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)


def _words(options: str) -> list[str]:
    """The words of command-line options, as the server takes them apart."""
    words = re.findall(r"(?:\\.|\S)+", options, re.DOTALL)
    plain = [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) for word in words]
    joined: list[str] = []
    for word in plain:
        if joined and joined[-1] == "-c":
            joined[-1] = f"-c{word}"
        else:
            joined.append(word)
    return joined


def _from_options(options: str) -> dict[str, str]:
    found = (_SETTING.fullmatch(word) for word in _words(options))
    return {match[1].replace("-", "_").lower(): match[2] for match in found if match}


def _only_settings(options: str) -> bool:
    return all(_SETTING.fullmatch(word) for word in _words(options))


def _set_socket(connection: asyncpg.Connection[Any], wanted: Mapping[str, int]) -> None:
    """Sets the socket as libpq does: a peer that is gone without a word is noticed."""
    transport = getattr(connection, "_transport", None)
    raw = transport.get_extra_info("socket") if transport is not None else None
    if raw is None or raw.family == getattr(sockets, "AF_UNIX", None):
        return
    if wanted.get("keepalives", 1) != 0:
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
        for name, option in _KEEPALIVES.items():
            if wanted.get(name, 0) > 0 and option is not None:
                raw.setsockopt(sockets.IPPROTO_TCP, option, wanted[name])
    timeout = getattr(sockets, "TCP_USER_TIMEOUT", None)
    if wanted.get("tcp_user_timeout", 0) > 0 and timeout is not None:
        raw.setsockopt(sockets.IPPROTO_TCP, timeout, wanted["tcp_user_timeout"])


_KEEPALIVES = {
    "keepalives_idle": getattr(sockets, "TCP_KEEPIDLE", None),
    "keepalives_interval": getattr(sockets, "TCP_KEEPINTVL", None),
    "keepalives_count": getattr(sockets, "TCP_KEEPCNT", None),
}
