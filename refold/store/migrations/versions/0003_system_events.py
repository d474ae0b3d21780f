"""System events: what happens to projections, in order, and how far handlers have been given it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "system_events",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("correlation_id", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.PrimaryKeyConstraint("projection", "number", name="system_events_pkey"),
        sa.UniqueConstraint("projection", "key", name="system_events_projection_key_key"),
        schema="refold",
    )
    op.create_index(
        "system_events_recorded_at_idx", "system_events", ["recorded_at"], schema="refold"
    )
    op.create_table(
        "system_event_counters",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("projection", name="system_event_counters_pkey"),
        schema="refold",
    )
    op.create_table(
        "deliveries",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("projection", "handler", name="deliveries_pkey"),
        schema="refold",
    )


def downgrade() -> None:
    for table in ("deliveries", "system_event_counters", "system_events"):
        op.drop_table(table, schema="refold")
