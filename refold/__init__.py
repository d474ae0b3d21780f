"""Refold: durable backfills, rebuilds and rollbacks of the read models of event-sourced systems."""

from refold.errors import RefoldError
from refold.event import Event
from refold.policy import BackfillPolicy
from refold.projection import Handler, Projection, Row

__all__ = ["BackfillPolicy", "Event", "Handler", "Projection", "RefoldError", "Row"]
