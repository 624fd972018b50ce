"""This migration adds the time before which a delivery of a notification is not tried."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_deliveries_later"
down_revision = "2026_11_hooks"


def upgrade() -> None:
    with op.batch_alter_table("notification_deliveries", recreate="always") as table:
        table.add_column(sa.Column("not_before", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("notification_deliveries", recreate="always") as table:
        table.drop_column("not_before")
