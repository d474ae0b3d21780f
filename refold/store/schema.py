"""The tables of the schema ``refold``, as SQLAlchemy sees them. Migrations make them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "refold"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    },
)


# None is SQL's NULL, not JSON's null.
_JSON = JSONB(none_as_null=True)


def now_column(name: str) -> Column[object]:
    """A column with the moment at which its row is written, by the database's clock."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


events = Table(
    "events",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("stream_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    now_column("recorded_at"),
    UniqueConstraint("stream_id", "version"),
    # Times mostly ascend with positions: a few pages tell where a date begins.
    Index(None, "recorded_at", postgresql_using="brin"),
)
"""The embedded event store; see `refold.source`."""

imports = Table(
    "imports",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    now_column("imported_at"),
    Index(None, "digest"),
)
"""One row per imported event file; `digest` is the SHA-256 of its content, unpacked."""

generations = Table(
    "generations",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("schema_name", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("position", BigInteger),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("rows", BigInteger),
    Column("built_with", _JSON),
    Column("run_id", Text),
    now_column("created_at"),
    Column("swapped_at", DateTime(timezone=True)),
    Column("discarded_at", DateTime(timezone=True)),
    Column("away", _JSON),
    Column("changes_kept_to", BigInteger),
    Column("counted_events", BigInteger),
    Column("late_to", BigInteger, nullable=False, server_default="0"),
    Index(None, "projection", "status", "generation"),
    Index(None, "run_id", postgresql_where=text("status <> 'discarded'")),
    Index(
        "generations_one_active",
        "projection",
        unique=True,
        postgresql_where=text("status = 'active'"),
    ),
)
"""One row per physical copy of a read model; `position` is its checkpoint (NULL while loading).

`away` says which store has the checkpoint, if one does: `position` is then only how far batches
may have written.
`changes_kept_to` is the checkpoint up to which its changes have been kept for its snapshots, and
`counted_events` how many events were counted since the latest of them; NULL where there are none.
`late_to` is the last of `late_events` (inclusive) whose keys its rows have been put right for.
"""

_PLANNED_VERSION = "(plan ->> 'version')::integer"

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("projection", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="running"),
    Column("request", JSONB, nullable=False),
    Column("plan", JSONB),
    Column("diff", _JSON),
    Column("followed_events", BigInteger, nullable=False, server_default="0"),
    Column("controls", _JSON),
    Column("paced_until", DateTime(timezone=True)),
    Column("holding", Text),
    Column("requested_by", Text),
    now_column("started_at"),
    Column("ended_at", DateTime(timezone=True)),
    Column("ended_by", Text),
    Column("error", Text),
    Column("version", Integer, Computed(_PLANNED_VERSION, persisted=True)),
    Index(None, "projection", "started_at"),
    Index(None, "projection", "version", "status"),
    Index(None, "workflow_id"),
    Index(None, "ended_at"),
)
"""One row per backfill or rebuild; `run_id` is Temporal's first run id, over continue-as-new.

`controls` is what was asked of the run while it runs, `paced_until` how far its events a second are
spent, `holding` why it holds back, `version` the projection's version that it was planned for,
`ended_by` the execution that ended it, if one did.
"""

partitions = Table(
    "partitions",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("low", _JSON),
    Column("high", _JSON),
    Column("done_key", _JSON),
    Column("carry", _JSON),
    Column("total_events", BigInteger, nullable=False),
    Column("processed_events", BigInteger, nullable=False, server_default="0"),
    Column("batches", BigInteger, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("done", Boolean, nullable=False, server_default=text("false")),
    ForeignKeyConstraint(["run_id"], ["refold.runs.run_id"], ondelete="CASCADE"),
)
"""A run's slices of the keys: those above `low` (exclusive) up to `high` (inclusive)."""

selected_keys = Table(
    "selected_keys",
    metadata,
    # Of no meaning but to name the row: those who publish all tables cannot delete it otherwise.
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("key", JSONB, nullable=False),
    Index(None, "run_id"),
)
"""The keys that a run repairs, if not all; a key may be there more than once."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("projection", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("key", _JSON),
    Column("position", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("trace", Text),
    Column("run_id", Text),
    now_column("recorded_at"),
    Index(None, "projection", "generation"),
)
"""Events that a handler or key could not take; `key`, if there is one, is held in that copy."""

skipped_events = Table(
    "skipped_events",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("requested_by", Text),
    now_column("skipped_at"),
)
"""Events that every fold of a projection passes over."""

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("projection", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("trigger", Text),
    Column("last_change", BigInteger, nullable=False, server_default="0"),
    Column("last_letter", BigInteger, nullable=False, server_default="0"),
    Column("has_json", Boolean, nullable=False, server_default=text("false")),
    Column("compacted_records", BigInteger, nullable=False, server_default="0"),
    Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.clock_timestamp(),
    ),
    UniqueConstraint("projection", "generation", "position"),
)
"""Snapshots that are no copies: a generation at a position, with what has changed in it since.

`trigger` is the type of the event that made it due, NULL for one that was due by number;
`last_change` the last change that was kept before it, `last_letter` the last dead letter that there
was; `has_json` whether `snapshot_rows` goes with it; `compacted_records` how many changes there
were after it when these were last made fewer.
"""

snapshot_changes = Table(
    "snapshot_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("projection", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    # As it was written: jsonb would refuse some texts, and cost more.
    Column("changes", JSON, nullable=False),
    Index(None, "projection", "generation", "id"),
)
"""Rows as they were at `position`, before a batch changed them; see `refold.store.snapshots`."""

snapshot_rows = Table(
    "snapshot_rows",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("key", JSONB, primary_key=True),
    Column("data", JSON, nullable=False),
)
"""What a projection's `create` makes of each row of a generation, for other versions."""

leases = Table(
    "leases",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("installation", Text),
    Column("released_by", Text),
    now_column("acquired_at"),
    now_column("renewed_at"),
)
"""Who may write a projection: one run at a time.

`installation` says which Temporal the run is of, beside the namespace's name: NULL for a lease of
an older version. `released_by` is who wants the run ended, wherever it is of.
"""

system_events = Table(
    "system_events",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("correlation_id", Text),
    Column("run_id", Text),
    Column("key", Text),
    Column(
        "recorded_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.clock_timestamp(),
    ),
    UniqueConstraint("projection", "key"),
    Index(None, "recorded_at"),
)
"""What happened to projections; `key` keeps what is recorded twice from being there twice."""

system_event_counters = Table(
    "system_event_counters",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
)
"""The number of each projection's last system event. Its lock puts them in order."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("handler", Text, primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    now_column("seen_at"),
)
"""Up to which system event (inclusive) each handler has been given a projection's events.

`seen_at` is when a worker last had the handler, to a day or so.
"""

left_behind = Table(
    "left_behind",
    metadata,
    Column("chore", Text, primary_key=True),
    Column("projection", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    now_column("since"),
)
"""What workers could not clear away, and why; a row goes when its reason does."""

deployments = Table(
    "deployments",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("projection", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("queue", Text, nullable=False),
    now_column("seen_at"),
    Column("event_types", JSONB(none_as_null=True)),
    Column("build", Text),
    Column("source", Text),
    Index(None, "projection"),
)
"""Which projections each worker has, on which task queue; a worker shows itself now and then.

`source` says in words where it reads events; NULL for a worker of older code.
"""

# Here, so that `metadata` knows all tables.
from refold.store.gaps import tables as gaps  # noqa: E402, F401
