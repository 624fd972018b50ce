"""This migration adds the time before which a delivery of a notification is not tried."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "2026_11_deliveries_later"
down_revision = "2026_11_hooks"


def _recreate() -> Literal["always", "never"]:
    """Return how a column is added: SQLite puts it into its place only by building the table anew."""
    return "always" if op.get_context().dialect.name == "sqlite" else "never"


def upgrade() -> None:
    with op.batch_alter_table("notification_deliveries", recreate=_recreate()) as table:
        table.add_column(sa.Column("not_before", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("notification_deliveries", recreate=_recreate()) as table:
        table.drop_column("not_before")
