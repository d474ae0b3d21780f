"""Which build of the code a worker is of, where workers are versioned."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("deployments", sa.Column("build", sa.Text), schema="refold")


def downgrade() -> None:
    op.drop_column("deployments", "build", schema="refold")
