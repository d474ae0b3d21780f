"""How far mirrors have copied."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    zoned = sa.DateTime(timezone=True)
    op.create_table(
        "mirrors",
        sa.Column("mirror", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("cursor", JSONB),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("events", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("position", sa.BigInteger),
        sa.Column("recorded_at", zoned),
        sa.Column("caught_up", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("paced_until", zoned),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("installation", sa.Text),
        sa.Column("requested_by", sa.Text),
        sa.Column("started_at", zoned, nullable=False, server_default=sa.text("now()")),
        sa.Column("seen_at", zoned, nullable=False, server_default=sa.text("now()")),
        sa.Column("ended_at", zoned),
        sa.PrimaryKeyConstraint("mirror", name="mirrors_pkey"),
        schema="refold",
    )


def downgrade() -> None:
    op.drop_table("mirrors", schema="refold")
