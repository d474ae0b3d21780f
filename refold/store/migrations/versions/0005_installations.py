"""Whose lease it is, what is left behind and why, which worker knows what; a bounded history."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NOW = sa.text("now()")


def upgrade() -> None:
    op.add_column("leases", sa.Column("installation", sa.Text), schema="refold")
    op.add_column("leases", sa.Column("released_by", sa.Text), schema="refold")
    op.add_column(
        "generations", sa.Column("discarded_at", sa.DateTime(timezone=True)), schema="refold"
    )
    op.create_index(
        "generations_projection_status_generation_idx",
        "generations",
        ["projection", "status", "generation"],
        schema="refold",
    )
    op.create_index(
        "generations_run_id_idx",
        "generations",
        ["run_id"],
        schema="refold",
        postgresql_where=sa.text("status <> 'discarded'"),
    )
    op.add_column(
        "runs",
        sa.Column(
            "version",
            sa.Integer,
            sa.Computed("((plan -> 'plan') ->> 'version')::integer", persisted=True),
        ),
        schema="refold",
    )
    op.create_index(
        "runs_projection_version_status_idx",
        "runs",
        ["projection", "version", "status"],
        schema="refold",
    )
    op.create_index("runs_workflow_id_idx", "runs", ["workflow_id"], schema="refold")
    op.create_index("runs_ended_at_idx", "runs", ["ended_at"], schema="refold")
    op.add_column(
        "deliveries",
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        schema="refold",
    )
    op.create_table(
        "left_behind",
        sa.Column("chore", sa.Text, nullable=False),
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("chore", "projection", "item", name="left_behind_pkey"),
        schema="refold",
    )
    op.create_table(
        "deployments",
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("projection", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("worker", "projection", "version", name="deployments_pkey"),
        schema="refold",
    )
    op.create_index("deployments_projection_idx", "deployments", ["projection"], schema="refold")


def downgrade() -> None:
    op.drop_table("deployments", schema="refold")
    op.drop_table("left_behind", schema="refold")
    op.drop_column("deliveries", "seen_at", schema="refold")
    for index in ("runs_ended_at_idx", "runs_workflow_id_idx"):
        op.drop_index(index, "runs", schema="refold")
    op.drop_index("runs_projection_version_status_idx", "runs", schema="refold")
    op.drop_column("runs", "version", schema="refold")
    for index in ("generations_run_id_idx", "generations_projection_status_generation_idx"):
        op.drop_index(index, "generations", schema="refold")
    op.drop_column("generations", "discarded_at", schema="refold")
    for column in ("released_by", "installation"):
        op.drop_column("leases", column, schema="refold")
