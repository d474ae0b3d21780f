"""A run that was undone is called so; `rolled_back` is a Rollback that worked."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(
        "UPDATE refold.runs SET status = 'undone' "
        "WHERE status = 'rolled_back' AND kind <> 'Rollback'"
    )


def downgrade() -> None:
    op.execute("UPDATE refold.runs SET status = 'rolled_back' WHERE status = 'undone'")
