"""Verified rebuilds: a generation's rows and indexes as built, and what a run changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("generations", sa.Column("rows", sa.BigInteger), schema="refold")
    op.add_column("generations", sa.Column("built_with", JSONB), schema="refold")
    op.add_column("runs", sa.Column("diff", JSONB), schema="refold")


def downgrade() -> None:
    op.drop_column("runs", "diff", schema="refold")
    op.drop_column("generations", "built_with", schema="refold")
    op.drop_column("generations", "rows", schema="refold")
