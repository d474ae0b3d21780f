"""The base of all errors that Refold raises on purpose."""

from __future__ import annotations

from datetime import timedelta

from refold.errors.codes import code_of


class RefoldError(Exception):
    """Base of all errors that Refold raises on purpose. Final unless its class says otherwise."""

    retryable = False
    retry_after: timedelta | None = None
    """When it is tried again, if sooner or later than others."""

    @property
    def code(self) -> str:
        """Its stable code, such as ``RF201``; see docs/errors.md."""
        return code_of(type(self).__name__)
