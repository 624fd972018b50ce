"""This migration adds the sessions of browsers that are signed in."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_browser_sessions"
down_revision = "2026_11_secrets"


def upgrade() -> None:
    op.create_table(
        "browser_sessions",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )


def downgrade() -> None:
    op.drop_table("browser_sessions")
