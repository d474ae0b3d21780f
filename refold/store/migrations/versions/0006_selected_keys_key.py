"""A key for each table that rows are deleted from: a publication FOR ALL TABLES asks for one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "selected_keys",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        schema="refold",
    )
    op.create_primary_key("selected_keys_pkey", "selected_keys", ["id"], schema="refold")


def downgrade() -> None:
    op.drop_column("selected_keys", "id", schema="refold")
