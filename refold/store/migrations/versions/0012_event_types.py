"""A worker shows which event types a projection reads: lag counts these, whoever asks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("deployments", sa.Column("event_types", JSONB()), schema="refold")


def downgrade() -> None:
    op.drop_column("deployments", "event_types", schema="refold")
