"""This migration lists the files that runs have made; what is in them is in a folder beside the database."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_run_files"
down_revision = "2026_11_leases"


def upgrade() -> None:
    op.create_table(
        "run_files",
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("refused", sa.String(), nullable=False),
        sa.Column("stored_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("execution_id", "path"),
    )
    op.create_index("ix_run_files_stored_at", "run_files", ["stored_at"])


def downgrade() -> None:
    op.drop_table("run_files")
