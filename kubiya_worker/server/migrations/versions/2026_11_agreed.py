"""This migration adds what all servers of a database must have the same, such as the mark of the key of the secrets."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_agreed"
down_revision = "2026_11_audit_cuts"


def upgrade() -> None:
    op.create_table(
        "agreed",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("agreed")
