"""Snapshots that are kept as what has changed since, and the JSON of rows that `create` makes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"


def _identity() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True))


def _of_generation() -> list[sa.Column[object]]:
    return [
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "snapshots",
        _identity(),
        *_of_generation(),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("trigger", sa.Text),
        sa.Column("last_change", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_letter", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("has_json", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.clock_timestamp(),
        ),
        sa.PrimaryKeyConstraint("id", name="snapshots_pkey"),
        sa.UniqueConstraint(
            "projection",
            "generation",
            "position",
            name="snapshots_projection_generation_position_key",
        ),
        schema="refold",
    )
    op.create_table(
        "snapshot_changes",
        _identity(),
        *_of_generation(),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="snapshot_changes_pkey"),
        schema="refold",
    )
    op.create_index(
        "snapshot_changes_projection_generation_id_idx",
        "snapshot_changes",
        ["projection", "generation", "id"],
        schema="refold",
    )
    op.create_table(
        "snapshot_rows",
        *_of_generation(),
        sa.Column("key", postgresql.JSONB, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("projection", "generation", "key", name="snapshot_rows_pkey"),
        schema="refold",
    )
    for column in ("changes_kept_to", "counted_events"):
        op.add_column("generations", sa.Column(column, sa.BigInteger), schema="refold")


def downgrade() -> None:
    for column in ("changes_kept_to", "counted_events"):
        op.drop_column("generations", column, schema="refold")
    for table in ("snapshot_rows", "snapshot_changes", "snapshots"):
        op.drop_table(table, schema="refold")
