"""This migration adds the skills and MCP servers that agents, teams and environments name."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_shared_parts"
down_revision = "2026_11_removed_executions"
TABLES = ("skills", "mcp_servers")


def upgrade() -> None:
    for name in TABLES:
        op.create_table(
            name,
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
    for name in TABLES:
        op.drop_table(name)
