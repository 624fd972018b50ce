"""This migration adds the audit records and their heads, with triggers that refuse to change or delete one."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_audit"
down_revision = "2026_11_persons"

NEVER = "audit records are kept as written"
TRIGGERS = {
    "audit_no_update": ("update on audit", ""),
    "audit_no_delete": ("delete on audit", ""),
    "audit_heads_no_delete": ("delete on audit_heads", ""),
    "audit_heads_forward": ("update on audit_heads", "new.seq <= old.seq"),
}


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_heads",
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id"),
    )
    postgresql = op.get_context().dialect.name == "postgresql"
    if postgresql:
        op.execute(
            "create function audit_kept() returns trigger language plpgsql as "
            f"$$ begin raise exception '{NEVER}'; end $$"
        )
    for name, (what, when) in TRIGGERS.items():
        if postgresql:
            condition = f"for each row when ({when or 'true'}) execute function audit_kept()"
        else:
            condition = f"{f'when {when} ' if when else ''}begin select raise(abort, '{NEVER}'); end"
        op.execute(f"create trigger {name} before {what} {condition}")


def downgrade() -> None:
    op.drop_table("audit_heads")
    op.drop_table("audit")
