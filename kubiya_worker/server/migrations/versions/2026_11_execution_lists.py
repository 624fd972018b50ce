"""This migration adds what lists of executions are searched by, and the indexes in whose order they are read."""

import json
from typing import Any, Literal

import sqlalchemy as sa
from alembic import op

revision = "2026_11_execution_lists"
down_revision = "2026_11_browser_sessions"

AT_ONCE = 1_000  # rows
WORDS = 2_000  # characters of a prompt
INDEXES = {
    "executions_all": [],
    "executions_status": ["status"],
    "executions_entity_id": ["entity_id"],
    "executions_queue_id": ["queue_id"],
    "executions_requester": ["requester"],
}


def _recreate() -> Literal["always", "never"]:
    """Return how a column is added: SQLite puts it into its place only by building the table anew."""
    return "always" if op.get_context().dialect.name == "sqlite" else "never"


def upgrade() -> None:
    with op.batch_alter_table("executions", recreate=_recreate()) as table:
        table.add_column(sa.Column("requester", sa.String()))
        table.add_column(sa.Column("words", sa.Text()))
    connection, last = op.get_bind(), ""
    some = sa.text("select id, data from executions where id > :last order by id limit :most")
    change = sa.text("update executions set requester = :requester, words = :words where id = :id")
    while rows := connection.execute(some, {"last": last, "most": AT_ONCE}).all():
        connection.execute(change, [_columns(row.id, json.loads(row.data)) for row in rows])
        last = rows[-1].id
    op.drop_index("ix_executions_queue_id", "executions")
    op.drop_index("ix_executions_created_at", "executions")
    for name, by in INDEXES.items():
        op.create_index(name, "executions", ["organization_id", *by, "created_at", "id"])


def _columns(execution_id: str, data: dict[str, Any]) -> dict[str, str]:
    """Return the columns of a row, as the code of then made them: migrations import none of the code."""
    by = data.get("requested_by") or {}
    return {
        "id": execution_id,
        "requester": str(by.get("id") or data.get("user_email") or "").lower(),
        "words": f"{data.get('entity_name') or ''}\n{str(data.get('prompt') or '')[:WORDS]}".casefold(),
    }


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "executions")
    op.create_index("ix_executions_queue_id", "executions", ["queue_id"])
    op.create_index("ix_executions_created_at", "executions", ["created_at"])
    with op.batch_alter_table("executions") as table:
        table.drop_column("words")
        table.drop_column("requester")
