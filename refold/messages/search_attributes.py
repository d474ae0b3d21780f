"""The search attributes under which Temporal lists workflows of Refold; all are keywords."""

from __future__ import annotations

PROJECTION = "RefoldProjection"
KIND = "RefoldKind"
STATUS = "RefoldStatus"
PHASE = "RefoldPhase"
REQUESTED_BY = "RefoldRequestedBy"
TENANT = "RefoldTenant"

REJECTED = "rejected"
"""`STATUS` of a run that was cancelled as somebody has rejected what it would change."""

REFUSED = "refused"
"""`STATUS` of a run that failed before it was begun: what was asked for cannot be carried out."""

SEARCH_ATTRIBUTES = (PROJECTION, KIND, STATUS, PHASE, REQUESTED_BY, TENANT)
