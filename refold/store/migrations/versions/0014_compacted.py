"""Changes that are kept for snapshots are made fewer now and then."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column(
        "snapshots",
        sa.Column("compacted_records", sa.BigInteger, nullable=False, server_default="0"),
        schema="refold",
    )


def downgrade() -> None:
    op.drop_column("snapshots", "compacted_records", schema="refold")
