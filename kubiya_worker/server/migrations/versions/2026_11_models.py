"""This migration adds the models that the workers of queues get as entries of their lists."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_models"
down_revision = "2026_11_agreed"


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "name"),
    )


def downgrade() -> None:
    op.drop_table("models")
