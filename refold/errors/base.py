"""The base of all errors that Refold raises on purpose."""

from __future__ import annotations

from datetime import timedelta


class RefoldError(Exception):
    """Base of all errors that Refold raises on purpose. Final unless its class says otherwise."""

    retryable = False
    retry_after: timedelta | None = None
    """When it is tried again, if sooner or later than others."""
