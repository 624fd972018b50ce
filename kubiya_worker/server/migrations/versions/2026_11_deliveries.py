"""This migration adds the deliveries of webhooks that were taken: one of them that comes again starts nothing."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_deliveries"
down_revision = "2026_11_stops"


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_deliveries_taken_at", "deliveries", ["taken_at"])


def downgrade() -> None:
    op.drop_table("deliveries")
