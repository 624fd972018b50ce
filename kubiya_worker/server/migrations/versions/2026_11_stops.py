"""This migration adds the table of stops: an organization in it makes no new call."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_stops"
down_revision = "2026_11_session_parts"


def upgrade() -> None:
    op.create_table(
        "stops",
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id"),
    )


def downgrade() -> None:
    op.drop_table("stops")
