"""The search attributes under which Temporal lists workflows of Refold; all are keywords."""

from __future__ import annotations

PROJECTION = "RefoldProjection"
KIND = "RefoldKind"
STATUS = "RefoldStatus"
PHASE = "RefoldPhase"
REQUESTED_BY = "RefoldRequestedBy"
TENANT = "RefoldTenant"

SEARCH_ATTRIBUTES = (PROJECTION, KIND, STATUS, PHASE, REQUESTED_BY, TENANT)
