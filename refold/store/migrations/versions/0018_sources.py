"""Where a worker reads events, so that commands which read elsewhere can say so."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("deployments", sa.Column("source", sa.Text), schema="refold")


def downgrade() -> None:
    op.drop_column("deployments", "source", schema="refold")
