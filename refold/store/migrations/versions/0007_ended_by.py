"""Which execution of a workflow ended a run: a reset makes another one of the same run."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("runs", sa.Column("ended_by", sa.Text), schema="refold")


def downgrade() -> None:
    op.drop_column("runs", "ended_by", schema="refold")
