"""Gaps in positions that were passed, and events that appeared in them later."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def _now(name: str) -> sa.Column[object]:
    moment = sa.DateTime(timezone=True)
    return sa.Column(name, moment, nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    op.create_table(
        "passed_to",
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("source", name="passed_to_pkey"),
        schema="refold",
    )
    op.create_table(
        "passed_gaps",
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("low", sa.BigInteger, nullable=False),
        sa.Column("high", sa.BigInteger, nullable=False),
        _now("passed_at"),
        sa.PrimaryKeyConstraint("source", "low", name="passed_gaps_pkey"),
        schema="refold",
    )
    op.create_table(
        "late_events",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        _now("found_at"),
        sa.PrimaryKeyConstraint("id", name="late_events_pkey"),
        schema="refold",
    )
    op.add_column(
        "generations",
        sa.Column("late_to", sa.BigInteger, nullable=False, server_default="0"),
        schema="refold",
    )


def downgrade() -> None:
    op.drop_column("generations", "late_to", schema="refold")
    for table in ("late_events", "passed_gaps", "passed_to"):
        op.drop_table(table, schema="refold")
