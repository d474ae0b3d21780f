"""Addresses of PostgreSQL as libpq takes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refold.errors import ConfigurationError
from refold.runtime.database_url import DatabaseUrl, parse_database_url

TAKEN: dict[str, dict[str, Any]] = {
    "postgresql://": {"hosts": (), "ports": (), "user": None, "database": None},
    "postgresql:///shop": {"hosts": (), "database": "shop"},
    "postgresql://db": {"hosts": ("db",), "ports": (5432,)},
    "postgres://me@db/shop": {"user": "me", "password": None},
    "postgresql+asyncpg://me:p@db:6432/shop": {"ports": (6432,), "password": "p"},
    "postgresql://me:p%40%2F%3F%23%5B%3A@db/shop": {"password": "p@/?#[:", "hosts": ("db",)},
    "postgresql://me:p:p@db/shop": {"password": "p:p"},
    "postgresql://me:not/encoded?#@db:1/shop": {"password": "not/encoded?#", "ports": (1,)},
    "postgresql://m%20e@db/s%20hop": {"user": "m e", "database": "s hop"},
    "postgresql://a:1,b:2/shop": {"hosts": ("a", "b"), "ports": (1, 2)},
    "postgresql://a,b/shop": {"hosts": ("a", "b"), "ports": (5432, 5432)},
    "postgresql:///shop?host=a,b&port=1,2": {"hosts": ("a", "b"), "ports": (1, 2)},
    "postgresql:///shop?host=a,b&port=7": {"ports": (7, 7)},
    "postgresql://ignored/shop?host=db": {"hosts": ("db",)},
    "postgresql://[::1]:5433/shop": {"hosts": ("::1",), "ports": (5433,)},
    "postgresql://[::1],[2001:db8::2]:7/shop": {
        "hosts": ("::1", "2001:db8::2"),
        "ports": (5432, 7),
    },
    "postgresql://%2Frun%2Fpg:5433/shop": {"hosts": ("/run/pg",), "ports": (5433,)},
    "postgresql:///shop?host=/run/pg": {"hosts": ("/run/pg",)},
    "postgresql://:5433/shop": {"hosts": (), "ports": (5433,)},
    "postgresql://db/?dbname=shop&user=me&password=p%26q": {
        "database": "shop",
        "user": "me",
        "password": "p&q",
    },
    "postgresql://db/shop?user=me@host": {"user": "me@host", "hosts": ("db",)},
    "postgresql://db/shop?connect_timeout=10": {"connect_seconds": 10},
    "postgresql://db/shop?connect_timeout=1": {"connect_seconds": 2},
    "postgresql://db/shop?connect_timeout=0": {"connect_seconds": None},
    "postgresql://db/shop?application_name=my%20shop": {"application_name": "my shop"},
    "postgresql://db/shop?fallback_application_name=b": {"application_name": "b"},
    "postgresql://db/shop?options=-c%20search_path%3Dapp": {"options": "-c search_path=app"},
    "postgresql://db/shop?keepalives=1&keepalives_idle=5&keepalives_count=3": {
        "socket": {"keepalives": 1, "keepalives_idle": 5, "keepalives_count": 3}
    },
    "postgresql://db/shop?keepalives_interval=2": {"socket": {"keepalives_interval": 2}},
    "postgresql://db/shop?tcp_user_timeout=9": {"socket": {"tcp_user_timeout": 9}},
    "postgresql://db/shop?sslmode=require&channel_binding=prefer": {
        "driver": {"sslmode": "require"}
    },
    "postgresql://db/shop?ssl=true": {"driver": {"sslmode": "require"}},
    "postgresql://db/shop?sslmode=Verify-Full&sslrootcert=/ca.pem": {
        "driver": {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}
    },
    "postgresql://db/shop?passfile=/p&service=s&target_session_attrs=primary": {
        "driver": {"passfile": "/p", "service": "s", "target_session_attrs": "primary"}
    },
    "postgresql://db/shop?gssencmode=prefer&sslsni=1&client_encoding=UTF8": {"driver": {}},
}

REFUSED = {
    "postgresql://db/shop?channel_binding=require": "channel_binding: expected disable or prefer",
    "postgresql://db/shop?sslmode=on": "sslmode: expected disable or allow",
    "postgresql://db/shop?target_session_attrs=standby": "target_session_attrs: .* takes writes",
    "postgresql://db/shop?connect_timeout=soon": "connect_timeout: expected a whole number",
    "postgresql://db/shop?keepalives_idle=1.5": "keepalives_idle: expected a whole number",
    "postgresql://db/shop?client_encoding=LATIN1": "client_encoding: expected",
    "postgresql://db/shop?gssencmode=require": "gssencmode: expected disable or prefer",
    "postgresql://db/shop?hostaddr=10.0.0.1": "hostaddr is not supported: use host",
    "postgresql://db/shop?require_auth=none": "require_auth is not supported",
    "postgresql://db/shop?replication=database": "replication: expected",
    "postgresql://db/shop?user=me&pool_size=5": "parameter 2 after the question mark is none",
    "postgresql://db/shop?sslmod=require": r"did you mean sslmode\?",
    "postgresql://db/shop?sslmode": "expected name=value",
    "postgresql://a,b,c/shop?port=1,2": "a port for each of 3 hosts, got 2",
    "postgresql://db:0/shop": "its port is no number",
    "postgresql://me:se@cret@db/shop": "percent-encode",
    "postgresql://::1/shop": "IPv6 address in brackets",
}


@pytest.mark.parametrize("url", TAKEN)
def test_it_is_taken(url: str) -> None:
    read = parse_database_url(url)
    assert {name: getattr(read, name) for name in TAKEN[url]} == TAKEN[url]


@pytest.mark.parametrize(
    "mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
)
def test_each_way_of_tls_is_taken(mode: str) -> None:
    assert parse_database_url(f"postgresql://db?sslmode={mode}").driver == {"sslmode": mode}


@pytest.mark.parametrize("url", REFUSED)
def test_it_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^REFOLD_DATABASE_URL: .*{REFUSED[url]}"):
        parse_database_url(url)


_SECRET = "s3cr3tword"
_PIECES = st.sampled_from(
    [
        *":/?#[]@,&=%",
        "%4",
        "%40",
        "db",
        "5432",
        "host=",
        "port=",
        "sslmode=",
        "options=",
        "connect_timeout=",
        "keepalives=",
        "sslrootcert=",
        "-c",
        "::1",
    ]
)


@example(before=[":", ":", "@", "?"], after=["host="], kind="postgresql://")
@example(before=[":", "@", "?", "sslmode="], after=[], kind="postgres://me:")
@example(before=[":", "@", "?", "connect_timeout="], after=[], kind="postgres://me:")
@given(
    before=st.lists(_PIECES, max_size=5),
    after=st.lists(_PIECES, max_size=8),
    kind=st.sampled_from(
        ["postgresql://", "postgres://me:", "postgresql+asyncpg://me:", "mysql://a:"]
    ),
)
def test_whatever_is_around_it_no_message_holds_the_password(
    before: list[str], after: list[str], kind: str
) -> None:
    url = f"{kind}{''.join(before)}{_SECRET}{''.join(after)}@db/shop"
    try:
        read = parse_database_url(url)
    except ConfigurationError as error:
        refused = str(error)
    else:
        assert isinstance(read, DatabaseUrl)
        if _SECRET in (read.password or ""):
            assert _SECRET not in repr(read)
        return
    assert _SECRET not in refused
