"""REFOLD_DATABASE_URL as libpq reads it: what is taken, what is refused, and never the password."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import quote, unquote

from refold.errors import ConfigurationError

EXAMPLE = "postgresql://user:password@host:5432/database"
_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_DEFAULT_PORT = 5432
_DEFAULT_TIMEOUT_SECONDS = 10.0
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

# What asyncpg knows of in an address, and which values it can work with; None: any.
_PASSED: Mapping[str, tuple[str, ...] | None] = {
    "sslmode": _SSL_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "sslcert": None,
    "sslkey": None,
    "sslpassword": None,
    "sslrootcert": None,
    "sslcrl": None,
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "passfile": None,
    "service": None,
    "krbsrvname": None,
    "gsslib": ("gssapi", "sspi"),
    "target_session_attrs": ("any", "read-write", "primary"),
}

# What libpq knows of and the driver does not: the values that ask for no more than it does.
_AS_IT_IS: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "sslcertmode": ("allow",),
    "client_encoding": ("auto", "utf8", "utf-8", "unicode"),
    "load_balance_hosts": ("disable",),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": ("3.0", "3.2", "latest"),
    "replication": ("false", "off", "no", "0"),
}

# libpq's parameters that nothing here can honour.
_REFUSED = (
    *("hostaddr", "require_auth", "requirepeer", "requiressl", "scram_client_key"),
    *("scram_server_key", "sslcrldir", "sslkeylogfile", "oauth_issuer", "oauth_client_id"),
    *("oauth_client_secret", "oauth_scope", "servicefile"),
)

_CURES: Mapping[str, str] = {
    "channel_binding": "the driver has no channel binding: use channel_binding=prefer, with "
    "sslmode=verify-full to know the server by its certificate",
    "target_session_attrs": "Refold writes: it needs a server that takes writes",
    "hostaddr": "use host with the address",
    "requiressl": "use sslmode",
}

_SOCKET_NUMBERS = (
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    "tcp_user_timeout",
)
_OWN = (
    *("host", "port", "dbname", "user", "password", "application_name"),
    *("fallback_application_name", "connect_timeout", "options", *_SOCKET_NUMBERS),
)
_ENCODE = (
    ": percent-encode what a password has of : / ? # [ ] @, and write an IPv6 address in brackets"
)
_YES = ("true", "yes", "on", "1", "require")


@dataclass(frozen=True)
class DatabaseUrl:
    """Where PostgreSQL is, and how sessions with it are to be.

    Attributes:
        hosts: Host names, addresses or directories of sockets; empty for the driver's default.
        ports: One for each host; one is enough for the driver's default hosts.
        user: None for the driver's default: PGUSER, else the user of the process.
        password: None when there is none here.
        database: None for the driver's default.
        driver: What asyncpg itself reads out of an address.
        application_name: How sessions name themselves.
        options: Command-line options for the server, as they were given.
        connect_seconds: How long to wait for a host; None for ever.
        socket: libpq's settings of the socket, by name.
    """

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    driver: Mapping[str, str] = field(default_factory=dict, repr=False)
    application_name: str = "refold"
    options: str = ""
    connect_seconds: float | None = _DEFAULT_TIMEOUT_SECONDS
    socket: Mapping[str, int] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        """The address for asyncpg, with what only an address can tell it."""
        pairs = (f"{name}={quote(value, safe='')}" for name, value in self.driver.items())
        return "postgresql://?" + "&".join(pairs) if self.driver else "postgresql://"

    @property
    def where(self) -> str:
        """The servers, for people."""
        pairs = zip(self.hosts, self.ports, strict=False)
        return ",".join(f"{_bracketed(h)}:{p}" for h, p in pairs) or "the local server"


def parse_database_url(url: str, *, variable: str = "REFOLD_DATABASE_URL") -> DatabaseUrl:
    """Reads an address as libpq does.

    Args:
        url: ``postgresql://…``, also with several hosts, sockets, and libpq's parameters.
        variable: What messages call it.

    Raises:
        ConfigurationError: It is no address of PostgreSQL, or has a parameter that cannot be
            honoured; the message names it, and never holds a password.
    """
    return _Parser(variable).parse(url)


class _Parser:
    def __init__(self, variable: str) -> None:
        self._variable = variable

    def _error(self, message: str) -> ConfigurationError:
        return ConfigurationError(f"{self._variable}: {message}")

    def _no_url(self, hint: str = "") -> ConfigurationError:
        # The value may hold a password: never repeat it.
        return self._error(
            f"expected an address such as {EXAMPLE}, got something that is not a URL{hint}"
        )

    def parse(self, url: str) -> DatabaseUrl:
        scheme, separator, rest = url.strip().partition("://")
        if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            raise self._no_url()
        if scheme not in _SCHEMES:
            raise self._error(
                f"expected a PostgreSQL address such as {EXAMPLE}, got one for {scheme!r}"
            )
        user, password, rest = _credentials(rest)
        place, _, query = rest.partition("?")
        if "@" in place:
            raise self._no_url(_ENCODE)
        try:
            return self._read(user, password, place, query)
        except ConfigurationError:
            if "@" in query:  # then it may be of the password, with a ? in it: it is not repeated
                raise self._no_url(_ENCODE) from None
            raise

    def _read(self, user: str, password: str, place: str, query: str) -> DatabaseUrl:
        hostspec, _, database = place.partition("/")
        parameters = self._parameters(query)
        hosts, ports = self._hosts(hostspec, parameters)
        return DatabaseUrl(
            hosts=hosts,
            ports=ports,
            user=parameters.get("user", unquote(user)) or None,
            password=parameters.get("password", unquote(password)) or None,
            database=parameters.get("dbname", unquote(database)) or None,
            driver=self._driver(parameters),
            application_name=parameters.get("application_name")
            or parameters.get("fallback_application_name")
            or "refold",
            options=parameters.get("options", ""),
            connect_seconds=self._connect_seconds(parameters),
            socket={n: self._number(n, parameters[n]) for n in _SOCKET_NUMBERS if n in parameters},
        )

    def _parameters(self, query: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, pair in enumerate(query.split("&") if query else (), start=1):
            name, equals, value = pair.partition("=")
            name, value = unquote(name), unquote(value)
            if not equals or not name:
                raise self._error("expected name=value after the question mark, separated by &")
            if name == "ssl":  # JDBC's, and SQLAlchemy's, spelling
                name, value = "sslmode", "require" if value in _YES else value
            if name == "database":
                name = "dbname"
            self._check(name, value, number)
            found[name] = value
        return found

    def _check(self, name: str, value: str, number: int) -> None:
        cure = f": {_CURES[name]}" if name in _CURES else ""
        if name in _REFUSED:
            raise self._error(f"parameter {name} is not supported{cure or ': leave it out'}")
        accepted = _AS_IT_IS.get(name) or _PASSED.get(name)
        if accepted is not None and value.lower() not in [one.lower() for one in accepted]:
            raise self._error(
                f"parameter {name}: expected {' or '.join(accepted)}, got {value!r}{cure}"
            )
        if not (name in _AS_IT_IS or name in _PASSED or name in _OWN):
            # It is not repeated: a password with a question mark in it is taken for a name.
            known = get_close_matches(name, [*_AS_IT_IS, *_PASSED, *_OWN], n=1)
            meant = f" (did you mean {known[0]}?)" if known else ""
            raise self._error(
                f"parameter {number} after the question mark is none that libpq has{meant}: a "
                "setting of the server goes into options, as options=-c%20name%3Dvalue"
            )

    def _hosts(
        self, hostspec: str, parameters: Mapping[str, str]
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        hosts: list[str] = []
        ports: list[str] = []
        for one in hostspec.split(",") if hostspec else ():
            match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?", one)
            if match is None:
                raise self._no_url(_ENCODE)
            hosts.append(unquote(match[1].strip("[]")))
            ports.append(unquote(match[2] or ""))
        if "host" in parameters:
            hosts, ports = parameters["host"].split(","), []
        if parameters.get("port"):
            ports = parameters["port"].split(",")
        if len(ports) <= 1:
            ports = (ports or [""]) * max(len(hosts), len(ports))
        if len(ports) != len(hosts) and hosts:
            raise self._error(f"expected a port for each of {len(hosts)} hosts, got {len(ports)}")
        if hosts == [""]:
            hosts = []
        return tuple(host or "localhost" for host in hosts), tuple(map(self._port, ports))

    def _port(self, text: str) -> int:
        if not text:
            return _DEFAULT_PORT
        if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) < 2**16):
            raise self._no_url(
                f": its port is no number from 1 to 65535{_ENCODE.replace(':', ';', 1)}"
            )
        return int(text)

    def _driver(self, parameters: Mapping[str, str]) -> dict[str, str]:
        driver = {name: parameters[name] for name in _PASSED if parameters.get(name)}
        for name in ("sslmode", "sslnegotiation", "gsslib", "target_session_attrs"):
            if name in driver:
                driver[name] = driver[name].lower()
        if driver.get("sslrootcert") == "system":
            file = ssl.get_default_verify_paths().cafile
            if file is None or driver.setdefault("sslmode", "verify-full") != "verify-full":
                raise self._error(
                    "parameter sslrootcert: system needs sslmode=verify-full and a file of root "
                    "certificates on this machine: name one instead"
                )
            driver["sslrootcert"] = file
        return driver

    def _connect_seconds(self, parameters: Mapping[str, str]) -> float | None:
        if "connect_timeout" not in parameters:
            return _DEFAULT_TIMEOUT_SECONDS
        seconds = self._number("connect_timeout", parameters["connect_timeout"])
        return max(float(seconds), 2.0) if seconds > 0 else None  # as libpq has it

    def _number(self, name: str, text: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", text, re.ASCII):
            raise self._error(f"parameter {name}: expected a whole number, got {text[:60]!r}")
        return int(text)


def _credentials(rest: str) -> tuple[str, str, str]:
    """User, password and what follows them.

    Where libpq would see none, a password that is not percent-encoded is taken all the same.
    """
    if re.match(r"[^/?]*@", rest):
        authority, _, after = rest.partition("@")
    elif (match := re.match(r"([^:/?@\[]+:(?![0-9,:]*(?:[/?]|$))[^@]*)@", rest)) is not None:
        authority, after = match[1], rest[match.end() :]
    else:
        return "", "", rest
    user, _, password = authority.partition(":")
    return user, password, after


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
