"""An application on eventsourcing, with a read model as that library's runner makes it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

_UPSERT = SQL("""
INSERT INTO peer AS p (id, count, total, last, kind) VALUES (%s, 1, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET count = p.count + 1, total = p.total + excluded.total,
    last = excluded.last, kind = excluded.kind
""")


class Stream(Aggregate):
    """Something that happens again and again."""

    class Happened(Aggregate.Event):
        """That it has happened."""

        n: int

    @event("Opened")
    def __init__(self) -> None:
        """Nothing has happened yet."""

    @event(Happened)
    def happen(self, n: int) -> None:
        """It happens."""


class Log(Application[UUID]):
    """Its events are in the table `log_events`."""


class View(PostgresTrackingRecorder):
    """Rows in the table `peer`, each written in one transaction with what is tracked."""

    def __init__(self, datastore: PostgresDatastore, **given: Any) -> None:
        super().__init__(datastore, **given)
        columns = "id text PRIMARY KEY, count int, total int, last int, kind text"
        create = SQL("CREATE TABLE IF NOT EXISTS peer ({})").format(SQL(columns))
        self.sql_create_statements.append(create)

    def happened(self, stream: str, n: int, tracking: Tracking) -> None:
        """Counts and adds what has happened."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking=tracking)
            cursor.execute(_UPSERT, (stream, n, n, f"kind {n % 7}"))


class Counted(Projection[View]):
    """The read model `keyed` of `bench.followed`."""

    name = "counted"
    topics = (get_topic(Stream.Happened),)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Applies one event."""
        if isinstance(domain_event, Stream.Happened):
            self.view.happened(str(domain_event.originator_id), domain_event.n, tracking)
