"""This module defines the tables: columns for look-ups and order, and the rest of each object as JSON in `data`."""

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


def _named(name: str) -> Table:
    """Return a table of objects that have an id, an organization and a name that is unique within it."""
    return Table(
        name,
        metadata,
        Column("id", String, primary_key=True),
        Column("organization_id", String, nullable=False),
        Column("name", String, nullable=False),
        Column("data", Text, nullable=False),
        Column("created_at", String, nullable=False),
        Column("updated_at", String, nullable=False),
        UniqueConstraint("organization_id", "name"),
    )


def _of_execution(*, primary_key: bool = False, index: bool = False) -> Column[str]:
    """Return the column of the execution that a row belongs to; the row is deleted with it."""
    owner = ForeignKey("executions.id", ondelete="CASCADE")
    return Column("execution_id", String, owner, primary_key=primary_key, nullable=False, index=index or None)


# A key is 256 random bits, which nobody can guess or enumerate. So a plain SHA-256 protects it as well as a slow hash
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
jobs = _named("jobs")
# The path of a job's webhook, and the secret that signs its calls: an HMAC needs the secret itself, not a hash.
webhooks = Table(
    "webhooks",
    metadata,
    Column("path", String, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("organization_id", String, nullable=False),
    Column("secret", String, nullable=False),
)
# The schedules that Temporal should have; null for one to delete. A row is written in the transaction that needs it,
# and outlives its job until Temporal has been told.
schedules = Table(
    "schedules",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("wanted", Text, nullable=False),
    Column("told", Boolean, nullable=False),
)
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
    Column("queue_id", String, nullable=False, index=True),
    Column("status", String, nullable=False, index=True),
    Column("idempotency_key", String),
    Column("environment", Text, nullable=False),  # variables of this run alone; no reply about the row contains them
    Column("data", Text, nullable=False),
    Column("created_at", String, nullable=False, index=True),
    Column("updated_at", String, nullable=False),
    UniqueConstraint("organization_id", "idempotency_key"),
)
# Actions that Temporal must still be told, in order: start, signal, cancel, terminate. A row is written in the
# transaction that needs it, and deleted when Temporal has it.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_execution(index=True),
    Column("action", String, nullable=False),
    Column("argument", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never used twice, so the order stays
)
events = Table(
    "events",
    metadata,
    _of_execution(primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("event_id", String),
    Column("event_type", String, nullable=False),
    Column("subject", String),  # the message, tool call or approval that the event is about
    Column("data", Text, nullable=False),
    Column("timestamp", String, nullable=False),
    Column("micros", Integer, nullable=False),  # microseconds since the epoch, when it was stored
    Index("events_once", "execution_id", "event_id", unique=True),
    sqlite_with_rowid=False,
)
sessions = Table(
    "sessions",
    metadata,
    _of_execution(primary_key=True),
    Column("data", Text, nullable=False),
)
session_parts = Table(  # the messages after those in `sessions`, by the number of each part's first message
    "session_parts",
    metadata,
    _of_execution(primary_key=True),
    Column("first", Integer, primary_key=True),
    Column("data", Text, nullable=False),
)
turns = Table(
    "turns",
    metadata,
    _of_execution(primary_key=True),
    Column("id", String, primary_key=True),
    Column("data", Text, nullable=False),
)
tool_calls = Table(
    "tool_calls",
    metadata,
    _of_execution(primary_key=True),
    Column("id", String, primary_key=True),
    Column("data", Text, nullable=False),
)
approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    _of_execution(index=True),
    Column("status", String, nullable=False, index=True),
    Column("data", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
)
job_runs = Table(
    "job_runs",
    metadata,
    _of_execution(primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("trigger_type", String, nullable=False),
)
