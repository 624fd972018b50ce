"""Tables. Columns are what is looked up or ordered by; the rest of an object is JSON in `data`."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _named(name: str, *more: Column[object]) -> Table:
    """A table of objects that have an id, an organization and a name that is unique within it."""
    return Table(
        name,
        metadata,
        Column("id", String, primary_key=True),
        Column("organization_id", String, nullable=False),
        Column("name", String, nullable=False),
        *more,
        Column("data", Text, nullable=False),
        Column("created_at", String, nullable=False),
        Column("updated_at", String, nullable=False),
        UniqueConstraint("organization_id", "name"),
    )


# A key is 256 random bits: nobody can guess or enumerate it, so a plain SHA-256 protects it as well as a slow hash
# would, and costs nothing at each request.
api_keys = Table(
    "api_keys",
    metadata,
    Column("hash", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("created_at", String, nullable=False),
)
environments = _named("environments")
queues = _named("queues")
agents = _named("agents")
teams = _named("teams")
rules = _named("approval_rules")
workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("queue_id", String, nullable=False, index=True),
    Column("status", String, nullable=False),
    Column("registered_at", String, nullable=False),
    Column("heartbeat_at", Float, nullable=False),  # seconds since the epoch
    Column("data", Text, nullable=False),
)
executions = Table(
    "executions",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("execution_type", String, nullable=False),
    Column("entity_id", String, nullable=False),
    Column("queue_id", String, nullable=False),
    Column("status", String, nullable=False, index=True),
    Column("dispatched", Boolean, nullable=False),  # Temporal has the workflow
    Column("workflow_input", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("created_at", String, nullable=False, index=True),
    Column("updated_at", String, nullable=False),
)
events = Table(
    "events",
    metadata,
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("event_id", String),
    Column("event_type", String, nullable=False),
    Column("data", Text, nullable=False),
    Column("timestamp", String, nullable=False),
    Column("micros", Integer, nullable=False),
    Index("events_once", "execution_id", "event_id", unique=True),
    sqlite_with_rowid=False,
)
sessions = Table(
    "sessions",
    metadata,
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("data", Text, nullable=False),
)
turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), index=True, nullable=False),
    Column("data", Text, nullable=False),
)
tool_calls = Table(
    "tool_calls",
    metadata,
    Column("id", String, primary_key=True),
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), index=True, nullable=False),
    Column("data", Text, nullable=False),
)
approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("execution_id", String, nullable=False, index=True),
    Column("status", String, nullable=False, index=True),
    Column("data", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
)
