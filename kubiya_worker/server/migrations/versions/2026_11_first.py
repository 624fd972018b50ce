"""This migration creates the first schema."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_first"
down_revision = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _named(name: str) -> None:
    """Create a table of objects that have an id, an organization and a name that is unique within it."""
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


def _of_execution() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    for name in ("environments", "queues", "agents", "teams", "approval_rules"):
        _named(name)
    op.create_table(
        "workers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("queue_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("registered_at", sa.String(), nullable=False),
        sa.Column("heartbeat_at", sa.Float(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_workers_queue_id", "workers", ["queue_id"])
    op.create_table(
        "executions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("execution_type", sa.String(), nullable=False),
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("queue_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String()),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "idempotency_key"),
    )
    for column in ("queue_id", "status", "created_at"):
        op.create_index(f"ix_executions_{column}", "executions", [column])
    op.create_table(
        "outbox",
        sa.Column("id", LONG, nullable=False),
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("argument", sa.Text(), nullable=False),
        _of_execution(),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_execution_id", "outbox", ["execution_id"])
    op.create_table(
        "events",
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String()),
        sa.Column("event_type", sa.String(), nullable=False),
        sa.Column("subject", sa.String()),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.String(), nullable=False),
        sa.Column("micros", LONG, nullable=False),
        _of_execution(),
        sa.PrimaryKeyConstraint("execution_id", "sequence"),
        sqlite_with_rowid=False,
    )
    op.create_index("events_once", "events", ["execution_id", "event_id"], unique=True)
    op.create_table(
        "sessions",
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        _of_execution(),
        sa.PrimaryKeyConstraint("execution_id"),
    )
    for name in ("turns", "tool_calls"):
        op.create_table(
            name,
            sa.Column("execution_id", sa.String(), nullable=False),
            sa.Column("id", sa.String(), nullable=False),
            sa.Column("data", sa.Text(), nullable=False),
            _of_execution(),
            sa.PrimaryKeyConstraint("execution_id", "id"),
        )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("execution_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        _of_execution(),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("execution_id", "status"):
        op.create_index(f"ix_approvals_{column}", "approvals", [column])


def downgrade() -> None:
    for name in (
        *("approvals", "tool_calls", "turns", "sessions", "events", "outbox", "executions", "workers"),
        *("approval_rules", "teams", "agents", "queues", "environments", "api_keys"),
    ):
        op.drop_table(name)
