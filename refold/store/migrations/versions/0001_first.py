"""The schema's first shape: events, generations, runs, partitions, leases."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

NOW = sa.text("now()")


def timestamp(name: str, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else NOW
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("metadata", JSONB, nullable=False, server_default=sa.text("'{}'")),
        timestamp("recorded_at"),
        sa.PrimaryKeyConstraint("position", name="events_pkey"),
        sa.UniqueConstraint("stream_id", "version", name="events_stream_id_version_key"),
        schema="refold",
    )
    op.create_table(
        "generations",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("schema_name", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger),
        counter("fence"),
        sa.Column("run_id", sa.Text),
        timestamp("created_at"),
        timestamp("swapped_at", nullable=True),
        sa.PrimaryKeyConstraint("projection", "generation", name="generations_pkey"),
        schema="refold",
    )
    op.create_index(
        "generations_one_active",
        "generations",
        ["projection"],
        unique=True,
        schema="refold",
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="running"),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("plan", JSONB),
        counter("followed_events"),
        sa.Column("requested_by", sa.Text),
        timestamp("started_at"),
        timestamp("ended_at", nullable=True),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="runs_pkey"),
        schema="refold",
    )
    op.create_index(
        "runs_projection_started_at_idx", "runs", ["projection", "started_at"], schema="refold"
    )
    op.create_table(
        "partitions",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("low", JSONB),
        sa.Column("high", JSONB),
        sa.Column("done_key", JSONB),
        sa.Column("carry", JSONB),
        sa.Column("total_events", sa.BigInteger, nullable=False),
        counter("processed_events"),
        counter("batches"),
        counter("fence"),
        sa.Column("done", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("run_id", "partition", name="partitions_pkey"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["refold.runs.run_id"], name="partitions_run_id_fkey", ondelete="CASCADE"
        ),
        schema="refold",
    )
    op.create_table(
        "leases",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        timestamp("acquired_at"),
        timestamp("renewed_at"),
        sa.PrimaryKeyConstraint("projection", name="leases_pkey"),
        schema="refold",
    )


def downgrade() -> None:
    for table in ("leases", "partitions", "runs", "generations", "events"):
        op.drop_table(table, schema="refold")
