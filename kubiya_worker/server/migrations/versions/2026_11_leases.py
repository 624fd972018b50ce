"""This migration adds what one worker or one server has for a time: update locks, and who does the work of all."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_leases"
down_revision = "2026_11_deliveries_later"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), primary_key=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("began", sa.Float(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("leases")
