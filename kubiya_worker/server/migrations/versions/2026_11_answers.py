"""This migration adds the tokens by which people answer requests from a message."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_answers"
down_revision = "2026_11_notifications"


def upgrade() -> None:
    approval = sa.ForeignKey("approvals.id", ondelete="CASCADE")
    notification = sa.ForeignKey("notifications.id", ondelete="CASCADE")
    op.create_table(
        "answer_tokens",
        sa.Column("hash", sa.String(), primary_key=True),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("approval_id", sa.String(), approval, nullable=False),
        sa.Column("notification_id", sa.String(), notification, nullable=False),
        sa.Column("arguments_hash", sa.String(), nullable=False),
        sa.Column("person", sa.String()),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float()),
    )
    op.create_index("ix_answer_tokens_approval_id", "answer_tokens", ["approval_id"])


def downgrade() -> None:
    op.drop_table("answer_tokens")
