"""This migration gives keys a person, an end and a last use; a key from before it belongs to the local user."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "2026_11_persons"
down_revision = "2026_11_deliveries"


def _recreate() -> Literal["always", "never"]:
    """Return how a column is added: SQLite puts it into its place only by building the table anew."""
    return "always" if op.get_context().dialect.name == "sqlite" else "never"


def upgrade() -> None:
    with op.batch_alter_table("api_keys", recreate=_recreate()) as table:
        table.add_column(sa.Column("data", sa.Text(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("expires_at", sa.Float()))
        table.add_column(sa.Column("revoked_at", sa.String()))
        table.add_column(sa.Column("used_at", sa.Float()))


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        for name in ("data", "expires_at", "revoked_at", "used_at"):
            table.drop_column(name)
