"""This migration makes the tables of hooks: their definitions, what they were told of, deliveries, answers."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_hooks"
down_revision = "2026_11_answers"

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("id", sa.String(), primary_key=True, nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.UniqueConstraint("organization_id", "name"),
    )
    op.create_table(
        "hook_threads",
        sa.Column("hook_id", sa.String(), sa.ForeignKey("hooks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("thing", sa.String(), primary_key=True, nullable=False),
        sa.Column("execution_id", sa.String()),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("held", sa.Text()),
    )
    op.create_index("ix_hook_threads_execution_id", "hook_threads", ["execution_id"])
    op.create_table(
        "hook_deliveries",
        sa.Column("id", LONG, primary_key=True, nullable=False),
        sa.Column("hook_id", sa.String(), sa.ForeignKey("hooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("taken_at", sa.Float(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("signature", sa.String()),
        sa.Column("number", sa.String()),
        sa.Column("execution_id", sa.String()),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("body", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("hook_deliveries_newest", "hook_deliveries", ["hook_id", "id"])
    op.create_table(
        "hook_replies",
        sa.Column("execution_id", sa.String(), sa.ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("hook_id", sa.String(), sa.ForeignKey("hooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
    )
    op.create_index("ix_hook_replies_state", "hook_replies", ["state"])


def downgrade() -> None:
    for table in ("hook_replies", "hook_deliveries", "hook_threads", "hooks"):
        op.drop_table(table)
