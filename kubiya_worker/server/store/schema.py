"""This module defines the tables: columns for look-ups and order, and the rest of each object as JSON in `data`."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

metadata = MetaData()
# PostgreSQL's integer ends at 2**31; SQLite numbers rows by itself only in a column of this very type.
LONG: Final = BigInteger().with_variant(Integer(), "sqlite")


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
    # {name, email, role, groups, scopes}; empty for the local user
    Column("data", Text, nullable=False, server_default="{}"),
    Column("expires_at", Float),  # seconds since the epoch
    Column("revoked_at", String),
    Column("used_at", Float),  # seconds since the epoch
)
# Browsers that are signed in, by the hash of their cookie. `key_hash`: the key that the person signed in with.
browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("hash", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("person_id", String, nullable=False),
    Column("key_hash", String),
    Column("data", Text, nullable=False),  # {name, email, role, groups} of who signed in without a key
    Column("expires_at", Float, nullable=False),  # seconds since the epoch
)
environments = _named("environments")
queues = _named("queues")
agents = _named("agents")
teams = _named("teams")
rules = _named("approval_rules")
skills = _named("skills")
mcp_servers = _named("mcp_servers")
models = _named("models")
jobs = _named("jobs")
notifications = _named("notifications")
# The path of a job's webhook, and the secret that signs its calls, sealed: an HMAC needs the secret itself, not a hash.
webhooks = Table(
    "webhooks",
    metadata,
    Column("path", String, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("organization_id", String, nullable=False),
    Column("secret", String, nullable=False),
)
# What channels are to be told, each written in the transaction of what it tells. A row is tried until the channel has
# it, or until it is dead. `key` names what it tells, so that nothing is told twice by one definition.
notification_deliveries = Table(
    "notification_deliveries",
    metadata,
    Column("id", String, primary_key=True),  # the same at each try: receivers know by it what they have already
    Column("organization_id", String, nullable=False),
    Column("notification_id", String, ForeignKey("notifications.id", ondelete="CASCADE"), nullable=False),
    Column("key", String, nullable=False),
    Column("approval_id", String, index=True),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Float, nullable=False),  # seconds since the epoch
    Column("created_at", Float, nullable=False),  # seconds since the epoch
    Column("ended_at", Float),  # seconds since the epoch
    Column("data", Text, nullable=False),  # what is told
    Column("error", Text),  # of the last try
    Column("not_before", Float, nullable=False, server_default="0"),  # seconds since the epoch
    UniqueConstraint("notification_id", "key"),
    Index("notification_deliveries_due", "state", "due_at"),
)
# What a message's link or button proves, by the hash of its token: one request with exactly these arguments, and the
# person whom it was sent to; without a person, the channel says who pressed.
answer_tokens = Table(
    "answer_tokens",
    metadata,
    Column("hash", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("approval_id", String, ForeignKey("approvals.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("notification_id", String, ForeignKey("notifications.id", ondelete="CASCADE"), nullable=False),
    Column("arguments_hash", String, nullable=False),
    Column("person", String),  # an e-mail
    Column("expires_at", Float, nullable=False),  # seconds since the epoch
    Column("used_at", Float),  # seconds since the epoch
)
# The specs that definition files gave an object, by the object's name: they outlive it, so that it can come back.
definition_versions = Table(
    "definition_versions",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("data", Text, nullable=False),
)
# Deliveries of webhooks that started something, by their signature and by the sender's number.
deliveries = Table(
    "deliveries",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("answer", Text, nullable=False),
    Column("taken_at", Float, nullable=False, index=True),  # seconds since the epoch
)
hooks = _named("hooks")


def _of_hook(*, primary_key: bool = False) -> Column[str]:
    """Return the column of the hook that a row belongs to; the row is deleted with it."""
    owner = ForeignKey("hooks.id", ondelete="CASCADE")
    return Column("hook_id", String, owner, primary_key=primary_key, nullable=False)


# Each thing that a hook was told of: its last run, and the last state that was told. `held` is the alert that waits for
# a run with a list.
hook_threads = Table(
    "hook_threads",
    metadata,
    _of_hook(primary_key=True),
    Column("thing", String, primary_key=True),
    Column("execution_id", String, index=True),
    Column("starts", Integer, nullable=False),
    Column("started_at", Float, nullable=False),  # seconds since the epoch, of the last run
    Column("status", String, nullable=False),
    Column("state", String, nullable=False),
    Column("held", Text),
)
# What came to a hook, with what was made of it.
hook_deliveries = Table(
    "hook_deliveries",
    metadata,
    Column("id", LONG, primary_key=True),
    _of_hook(),
    Column("taken_at", Float, nullable=False),  # seconds since the epoch
    Column("verdict", String, nullable=False),
    Column("signature", String),  # what was signed, where it makes the delivery one
    Column("number", String),  # the sender's id of the delivery
    Column("execution_id", String),
    Column("data", Text, nullable=False),
    Column("body", Text),
    Index("hook_deliveries_newest", "hook_id", "id"),
    sqlite_autoincrement=True,
)
# Answers of executions that go back to where their alert came from. A row is written with the execution's end.
hook_replies = Table(
    "hook_replies",
    metadata,
    _of_execution(primary_key=True),
    _of_hook(),
    Column("state", String, nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("next_at", Float, nullable=False),  # seconds since the epoch
    Column("data", Text, nullable=False),
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
    Column("queue_id", String, nullable=False),
    Column("status", String, nullable=False, index=True),
    Column("idempotency_key", String),
    Column("environment", Text, nullable=False),  # variables of this run alone; no reply about the row contains them
    Column("data", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("requester", String),  # the id of the person who asked for it
    Column("words", Text),  # in which a search for a text looks
    UniqueConstraint("organization_id", "idempotency_key"),
    # Each list is read in the order of one of these, from any place on.
    *(
        Index(f"executions_{'_'.join(by) or 'all'}", "organization_id", *by, "created_at", "id")
        for by in ((), ("status",), ("entity_id",), ("queue_id",), ("requester",))
    ),
)
# What is left of an execution that a limit of the server removed.
removed_executions = Table(
    "removed_executions",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("data", Text, nullable=False),  # {entity_id, entity_name, queue_id, execution_type, status, ended_at, rule}
    Column("removed_at", Float, nullable=False, index=True),  # seconds since the epoch
)
# Actions that Temporal must still be told, in order: start, signal, cancel, terminate. A row is written in the
# transaction that needs it, and deleted when Temporal has it.
outbox = Table(
    "outbox",
    metadata,
    Column("id", LONG, primary_key=True),
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
    Column("micros", LONG, nullable=False),  # microseconds since the epoch, when it was stored
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
run_files = Table(  # what is in them is in a folder beside the database
    "run_files",
    metadata,
    _of_execution(primary_key=True),
    Column("path", String, primary_key=True),
    Column("size", Integer, nullable=False),  # bytes
    Column("sha256", String, nullable=False),  # empty for a file that was not stored
    Column("type", String, nullable=False),
    Column("refused", String, nullable=False),  # why it was not stored; empty for one that was
    Column("stored_at", Float, nullable=False, index=True),  # seconds since the epoch
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
# Organizations that make no new call until the stop is lifted.
stops = Table(
    "stops",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("data", Text, nullable=False),
)
# What was decided and changed, one line of JSON each, numbered without gaps within an organization. A record outlives
# what it is about. The triggers stop mistakes and clumsy hands; the chain of hashes shows what gets around them.
audit = Table(
    "audit",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("record", Text, nullable=False),
    sqlite_with_rowid=False,
)
# The last record of each organization, so that records that were removed at the end are missed.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", String, nullable=False),
)
# Where the records of an organization begin, since older ones were removed: the last removed one.
audit_cuts = Table(
    "audit_cuts",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", String, nullable=False),
)
_NEVER: Final = "audit records are kept as written"
_UNCUT: Final = "old.seq > coalesce((select seq from audit_cuts where organization_id = old.organization_id), 0)"
TRIGGERS: Final = {  # name: (event and table, when); the migrations have copies of them
    "audit_no_update": ("update on audit", ""),
    "audit_no_delete": ("delete on audit", _UNCUT),
    "audit_heads_no_delete": ("delete on audit_heads", ""),
    "audit_heads_forward": ("update on audit_heads", "new.seq <= old.seq"),
    "audit_cuts_no_delete": ("delete on audit_cuts", ""),
    "audit_cuts_forward": ("update on audit_cuts", "new.seq <= old.seq"),
}


def _guard(_: Any, connection: Connection, **__: Any) -> None:
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        connection.exec_driver_sql(
            "create function audit_kept() returns trigger language plpgsql as "
            f"$$ begin raise exception '{_NEVER}'; end $$"
        )
        connection.exec_driver_sql(  # a condition of a trigger cannot read a table there
            "create function audit_uncut() returns trigger language plpgsql as "
            f"$$ begin if {_UNCUT} then raise exception '{_NEVER}'; end if; return old; end $$"
        )
    for name, (what, when) in TRIGGERS.items():
        if postgresql:
            condition = f"for each row when ({when or 'true'}) execute function audit_kept()"
            condition = "for each row execute function audit_uncut()" if when == _UNCUT else condition
        else:
            condition = f"{f'when {when} ' if when else ''}begin select raise(abort, '{_NEVER}'); end"
        connection.exec_driver_sql(f"create trigger {name} before {what} {condition}")


event.listen(metadata, "after_create", _guard)
# What all servers of a database must have the same, by its name.
agreed = Table(
    "agreed",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
# What one has for a time: the lock of a queue's worker that updates itself, and the work that one server does for all.
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("id", String, nullable=False),
    Column("holder", String, nullable=False),
    Column("began", Float, nullable=False),  # seconds since the epoch
    Column("seconds", Float, nullable=False),
)
# Secrets by name: the value sealed (sealing.py), or the external source that has it.
secrets = Table(
    "secrets",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Text),
    Column("source", String),
    Column("data", Text, nullable=False),  # {created_by, updated_by}: persons
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("used_at", Float),  # seconds since the epoch, when a worker got it last
)
