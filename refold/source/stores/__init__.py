"""Event sources for the tables of known event stores: ``from refold import stores``.

Each function says what is mapped, and what its arguments are; the object that it returns is what
REFOLD_EVENTS names.
"""

from __future__ import annotations

from refold.source.stores.akka import akka_jdbc
from refold.source.stores.axon import axon
from refold.source.stores.commanded import commanded
from refold.source.stores.emmett import emmett
from refold.source.stores.eventsourcing import eventsourcing
from refold.source.stores.marten import marten
from refold.source.stores.message_db import message_db
from refold.source.stores.php import prooph, spatie
from refold.source.stores.plain import table
from refold.source.stores.rails_event_store import rails_event_store
from refold.source.stores.refused import akka_r2dbc, cqrs_es, debezium_outbox, sequent

__all__ = [
    "akka_jdbc",
    "akka_r2dbc",
    "axon",
    "commanded",
    "cqrs_es",
    "debezium_outbox",
    "emmett",
    "eventsourcing",
    "marten",
    "message_db",
    "prooph",
    "rails_event_store",
    "sequent",
    "spatie",
    "table",
]
