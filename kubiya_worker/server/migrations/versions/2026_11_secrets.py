"""This migration makes the table of secrets: sealed values, or the external sources that have them."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_secrets"
down_revision = "2026_11_definition_versions"


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("organization_id", sa.String(), primary_key=True, nullable=False),
        sa.Column("name", sa.String(), primary_key=True, nullable=False),
        sa.Column("value", sa.Text()),
        sa.Column("source", sa.String()),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.Column("used_at", sa.Float()),
    )


def downgrade() -> None:
    op.drop_table("secrets")
