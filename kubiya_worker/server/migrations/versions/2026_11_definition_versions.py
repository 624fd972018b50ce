"""This migration adds the versions of definitions that documents were applied for."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_definition_versions"
down_revision = "2026_11_audit"


def upgrade() -> None:
    op.create_table(
        "definition_versions",
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "kind", "name", "version"),
    )


def downgrade() -> None:
    op.drop_table("definition_versions")
