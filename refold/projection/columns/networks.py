"""Addresses and networks."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy.dialects import postgresql

from refold.projection.columns.kind import Kind, wrong


def address(name: str, kind: postgresql.INET) -> Kind:
    """Addresses, or interfaces if the prefix has fewer than all bits, as the driver gives them."""

    def settle(value: Any) -> Any:
        try:
            found = ipaddress.ip_interface(_plain(value))
        except (ValueError, TypeError):
            raise wrong(name, "an IP address or interface", value) from None
        return found.ip if found.network.prefixlen == found.max_prefixlen else found

    return Kind(settle, kind, read=settle, freeze=str, thaw=settle)


def network(name: str, kind: postgresql.CIDR) -> Kind:
    """Networks, whose bits beyond the prefix are 0."""

    def settle(value: Any) -> Any:
        try:
            return ipaddress.ip_network(_plain(value))
        except (ValueError, TypeError):
            raise wrong(name, "an IP network without bits beyond its prefix", value) from None

    return Kind(settle, kind, read=settle, freeze=str, thaw=settle)


_TYPES = (
    str,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)


def _plain(value: Any) -> str:
    # Python takes a number for an address; PostgreSQL has no scopes.
    if not isinstance(value, _TYPES) or "%" in str(value):
        raise TypeError
    return str(value)
