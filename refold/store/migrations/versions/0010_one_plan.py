"""A run's plan is one object, with what people see of it as a part: ``preview``."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_INDEX = "runs_projection_version_status_idx"


def _computed(expression: str) -> sa.Column[int]:
    return sa.Column("version", sa.Integer, sa.Computed(expression, persisted=True))


def upgrade() -> None:
    op.drop_column("runs", "version", schema="refold")  # and its index
    op.execute(
        "UPDATE refold.runs SET plan = (plan -> 'plan') || "
        "jsonb_build_object('preview', plan -> 'preview') WHERE plan ? 'plan'"
    )
    op.add_column("runs", _computed("(plan ->> 'version')::integer"), schema="refold")
    op.create_index(_INDEX, "runs", ["projection", "version", "status"], schema="refold")


def downgrade() -> None:
    op.drop_column("runs", "version", schema="refold")
    op.execute(
        "UPDATE refold.runs SET plan = jsonb_build_object('plan', plan - 'preview', "
        "'preview', plan -> 'preview') WHERE plan ? 'preview'"
    )
    op.add_column("runs", _computed("((plan -> 'plan') ->> 'version')::integer"), schema="refold")
    op.create_index(_INDEX, "runs", ["projection", "version", "status"], schema="refold")
