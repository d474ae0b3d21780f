"""Who may ask the page's server for what: hosts, the token, and where a request comes from."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OWN_SITE = (None, "same-origin", "none")
_BEARER = "Bearer "


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        status: The HTTP status.
        message: What was expected, what came, and what to do.
    """

    status: int
    message: str


@dataclass(frozen=True)
class Access:
    """Decides whether a request may be answered.

    Attributes:
        token: What requests for data must carry; None for nothing.
        control: Whether runs may be steered, and event data may be shown.
    """

    token: str | None
    control: bool

    def to_page(self, headers: Headers) -> Refusal | None:
        """Why the page's files are refused; None when they are not.

        Without a token the name by which the server is called must be this machine's own. So a
        page of another site whose name suddenly leads here does not get in.
        """
        host = headers.get("host", "")
        if self.token is None and _hostname(f"//{host}") not in _LOOPBACK:
            return Refusal(
                403,
                f"Host: expected one of ({', '.join(_LOOPBACK)}), got {host!r}: open the address "
                "that `refold web` has printed",
            )
        return None

    def to_data(self, headers: Headers) -> Refusal | None:
        """Why data are refused; None when they are not."""
        refusal = self.to_page(headers)
        if refusal is not None or self.token is None:
            return refusal
        given = headers.get("authorization", "")
        carried = given.removeprefix(_BEARER) if given.startswith(_BEARER) else ""
        if not secrets.compare_digest(carried.encode(), self.token.encode()):
            return Refusal(
                401,
                f"token: expected the one that `refold web` has printed, got "
                f"{'another one' if carried else 'none'}",
            )
        return None

    def to_event_data(self, headers: Headers) -> Refusal | None:
        """Why event data are refused; None when they are not."""
        return self.to_data(headers) or self._without_control("rows and events are not shown")

    def to_steer(self, headers: Headers) -> Refusal | None:
        """Why a request that changes something is refused; None when it is not.

        It must come from the page itself: no other site may send what a browser adds by itself.
        """
        refusal = self.to_data(headers) or self._without_control("nothing can be changed")
        if refusal is not None:
            return refusal
        origin = headers.get("origin")
        own = origin is None or urlsplit(origin).netloc == headers.get("host")
        if not own or headers.get("sec-fetch-site") not in _OWN_SITE:
            return Refusal(
                403, f"Origin: expected {headers.get('host')}, got {origin}: another site asks"
            )
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return Refusal(415, "Content-Type: expected application/json")
        return None

    def _without_control(self, what: str) -> Refusal | None:
        if self.control:
            return None
        return Refusal(403, f"{what} here: expected a server that runs `refold web --control`")


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
