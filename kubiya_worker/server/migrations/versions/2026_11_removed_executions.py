"""This migration keeps what is left of executions that a limit of the server removed: what they were, and why."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_removed_executions"
down_revision = "2026_11_run_files"


def upgrade() -> None:
    op.create_table(
        "removed_executions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_removed_executions_removed_at", "removed_executions", ["removed_at"])


def downgrade() -> None:
    op.drop_table("removed_executions")
