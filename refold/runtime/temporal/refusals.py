"""Why a Temporal server cannot be talked to, in words: its client tells it in types of its own."""

from __future__ import annotations

import re

_MESSAGE = re.compile(r'message: "([^"]+)"')

_KNOWN = (
    (
        "UnknownIssuer",
        "nobody who is trusted here has signed its certificate: let "
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH name the certificate of who has",
    ),
    (
        "NotValidForName",
        "its certificate is for other names: let TEMPORAL_TLS_SERVER_NAME say one of them, or take "
        "an address that it is for",
    ),
    ("Expired", "its certificate has expired, or the clock here is wrong"),
    ("InvalidContentType", "it speaks no TLS: take TEMPORAL_TLS and TEMPORAL_API_KEY away"),
    ("PrivateKeyParseError", "TEMPORAL_TLS_CLIENT_KEY_PATH holds no key that can be read"),
    ("CertificateParseError", "a certificate of TEMPORAL_TLS_… cannot be read"),
)


def reason(error: RuntimeError, *, tls: bool) -> str:
    """Why there is no connection, without the names of the client's types where it is known.

    Args:
        error: What the client raised.
        tls: Whether it was to speak TLS.
    """
    text = str(error)
    for mark, words in _KNOWN:
        if mark in text:
            return words
    if "Unauthenticated" in text or "PermissionDenied" in text:
        return f"it refuses who asks: check TEMPORAL_API_KEY; it says {_short(text)!r}"
    if "transport error" in text or "operation was canceled" in text:
        if not tls:
            return "it ends the connection: if it speaks TLS, set TEMPORAL_TLS=true"
        return (
            "it ends the connection: if it asks for a certificate, TEMPORAL_TLS_CLIENT_CERT_PATH "
            "and TEMPORAL_TLS_CLIENT_KEY_PATH name it"
        )
    return _short(text)


def _short(text: str) -> str:
    reasons = _MESSAGE.findall(text)
    return str(reasons[-1]) if reasons else text
