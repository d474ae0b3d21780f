"""Appends wake live projections: a notification for each statement that appends."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION refold.notify_appended() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('refold_events', ''); RETURN NULL; END $$
        """
    )
    op.execute(
        "CREATE TRIGGER notify_appended AFTER INSERT ON refold.events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refold.notify_appended()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER notify_appended ON refold.events")
    op.execute("DROP FUNCTION refold.notify_appended()")
