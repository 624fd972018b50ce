"""This migration notes where the audit records begin when older ones were removed, and lets only those be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_audit_cuts"
down_revision = "2026_11_shared_parts"

NEVER = "audit records are kept as written"
UNCUT = "old.seq > coalesce((select seq from audit_cuts where organization_id = old.organization_id), 0)"
TRIGGERS = {
    "audit_no_delete": ("delete on audit", UNCUT),
    "audit_cuts_no_delete": ("delete on audit_cuts", ""),
    "audit_cuts_forward": ("update on audit_cuts", "new.seq <= old.seq"),
}


def upgrade() -> None:
    op.create_table(
        "audit_cuts",
        sa.Column("organization_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id"),
    )
    postgresql = op.get_context().dialect.name == "postgresql"
    op.execute(f"drop trigger audit_no_delete{' on audit' if postgresql else ''}")
    if postgresql:
        op.execute(
            "create function audit_uncut() returns trigger language plpgsql as "
            f"$$ begin if {UNCUT} then raise exception '{NEVER}'; end if; return old; end $$"
        )
    for name, (what, when) in TRIGGERS.items():
        if postgresql:
            condition = f"for each row when ({when or 'true'}) execute function audit_kept()"
            condition = "for each row execute function audit_uncut()" if when == UNCUT else condition
        else:
            condition = f"{f'when {when} ' if when else ''}begin select raise(abort, '{NEVER}'); end"
        op.execute(f"create trigger {name} before {what} {condition}")


def downgrade() -> None:
    postgresql = op.get_context().dialect.name == "postgresql"
    op.execute(f"drop trigger audit_no_delete{' on audit' if postgresql else ''}")
    how = "for each row execute function audit_kept()" if postgresql else f"begin select raise(abort, '{NEVER}'); end"
    op.execute(f"create trigger audit_no_delete before delete on audit {how}")
    op.drop_table("audit_cuts")
