"""Whose turn it is: the key by which Temporal shares workers out among all that wait for them."""

from __future__ import annotations

# What Temporal takes.
_LONGEST_BYTES = 64


def fairness_key(projection: str, tenant: str | None = None) -> str:
    """The key of a run's activities: its tenant, else its projection; at most 64 bytes.

    A longer tenant is cut: those that begin alike take turns as one.
    """
    wanted = tenant or projection
    return wanted.encode()[:_LONGEST_BYTES].decode(errors="ignore")
