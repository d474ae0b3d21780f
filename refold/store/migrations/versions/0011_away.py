"""Live checkpoints that are kept in a store, apart from their rows."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("ALTER TABLE refold.generations ADD COLUMN away jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE refold.generations DROP COLUMN away")
