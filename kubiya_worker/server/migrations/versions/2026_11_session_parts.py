"""This migration stores sessions in parts, so that a change does not rewrite a long session."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_session_parts"
down_revision = "2026_11_jobs"


def upgrade() -> None:
    op.create_table(
        "session_parts",
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("execution_id", "first"),
    )


def downgrade() -> None:
    op.drop_table("session_parts")
