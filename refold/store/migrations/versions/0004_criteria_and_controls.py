"""Criteria, controls and dead letters: selected keys, what runs are told, events set aside."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

NOW = sa.text("now()")


def upgrade() -> None:
    op.create_index(
        "events_recorded_at_idx",
        "events",
        ["recorded_at"],
        schema="refold",
        postgresql_using="brin",
    )
    op.add_column("runs", sa.Column("controls", JSONB), schema="refold")
    op.add_column("runs", sa.Column("paced_until", sa.DateTime(timezone=True)), schema="refold")
    op.add_column("runs", sa.Column("holding", sa.Text), schema="refold")
    op.create_table(
        "selected_keys",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("key", JSONB, nullable=False),
        schema="refold",
    )
    op.create_index("selected_keys_run_id_idx", "selected_keys", ["run_id"], schema="refold")
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("key", JSONB),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("trace", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="dead_letters_pkey"),
        schema="refold",
    )
    op.create_index(
        "dead_letters_projection_generation_idx",
        "dead_letters",
        ["projection", "generation"],
        schema="refold",
    )
    op.create_table(
        "skipped_events",
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("requested_by", sa.Text),
        sa.Column("skipped_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("projection", "position", name="skipped_events_pkey"),
        schema="refold",
    )


def downgrade() -> None:
    for table in ("skipped_events", "dead_letters", "selected_keys"):
        op.drop_table(table, schema="refold")
    for column in ("holding", "paced_until", "controls"):
        op.drop_column("runs", column, schema="refold")
    op.drop_index("events_recorded_at_idx", "events", schema="refold")
