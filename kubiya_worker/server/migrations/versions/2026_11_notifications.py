"""This migration adds the definitions of notifications, and the deliveries that wait for their channels."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_notifications"
down_revision = "2026_11_execution_lists"


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.UniqueConstraint("organization_id", "name"),
    )
    owner = sa.ForeignKey("notifications.id", ondelete="CASCADE")
    op.create_table(
        "notification_deliveries",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("notification_id", sa.String(), owner, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("approval_id", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float()),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.UniqueConstraint("notification_id", "key"),
    )
    op.create_index("ix_notification_deliveries_approval_id", "notification_deliveries", ["approval_id"])
    op.create_index("notification_deliveries_due", "notification_deliveries", ["state", "due_at"])


def downgrade() -> None:
    op.drop_table("notification_deliveries")
    op.drop_table("notifications")
