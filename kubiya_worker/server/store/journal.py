"""This module writes what changed into the audit chain, in the transaction of the change and just before its commit.

Stores say what they changed; who did it is known here. So nothing can change without a record, and no record stays of
what was rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, insert, select, text

from kubiya_worker.protocol import audit
from kubiya_worker.protocol.events import now
from kubiya_worker.server import actor
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.difference import difference
from kubiya_worker.server.store.statement import Prepared

Object = dict[str, Any]
DONE: Final = "done"
REFUSED: Final = "refused"
_HEAD: Final = Prepared(
    select(schema.audit_heads.c.seq, schema.audit_heads.c.hash)
    .where(schema.audit_heads.c.organization_id == bindparam("organization"))
    .with_for_update()  # the next record is numbered by who writes this row
)
_INSERT: Final = Prepared(insert(schema.audit))
_SET_HEAD: Final = Prepared(
    text(
        "insert into audit_heads (organization_id, seq, hash) values (:organization, :seq, :hash) "
        "on conflict (organization_id) do update set seq = excluded.seq, hash = excluded.hash"
    )
)
_RULE: Final = Prepared(text("select name, updated_at from approval_rules where id = :id"))
# The verb of an execution's or approval's new status.
_VERBS: Final = {
    "execution": {
        "paused": "pause",
        "cancelled": "cancel",
        "terminated": "cancel",
        "completed": "complete",
        "failed": "fail",
    },
    "approval": {"approved": "approve", "rejected": "reject", "expired": "expire"},
}


@dataclass
class Change:
    """A change says what was done to one object; `before` is None for a new one and `after` for one that is gone.

    `about` adds fields to the record: reason, arguments_hash, rule_id, rules_version, rules_age_seconds, execution_id,
    outcome, detail, decided_at.
    """

    organization_id: str
    kind: str
    id: str
    name: str
    before: Object | None = None
    after: Object | None = None
    verb: str = ""
    about: Object = field(default_factory=dict)


def action_of(change: Change) -> str:
    """Return what was done, as `kind.verb`. Pure."""
    before, after = change.before, change.after
    if change.verb:
        return f"{change.kind}.{change.verb}"
    if before is None:
        return f"{change.kind}.create"
    if after is None:
        return f"{change.kind}.delete"
    if change.kind in _VERBS and before.get("status") != after.get("status"):
        usual = "resume" if before.get("status") == "paused" else "update"
        return f"{change.kind}.{_VERBS[change.kind].get(str(after.get('status')), usual)}"
    if change.kind == "job" and before.get("enabled") != after.get("enabled"):
        return "job.enable" if after.get("enabled") else "job.disable"
    return f"{change.kind}.update"


def joined(changes: Sequence[Change]) -> list[Change]:
    """Return one change for each object: what one transaction did to it in several steps is one change. Pure."""
    by_object: dict[tuple[str, str, str], Change] = {}
    for change in changes:
        earlier = by_object.get((change.kind, change.id, change.verb))
        if earlier is None:
            by_object[change.kind, change.id, change.verb] = change
        else:
            earlier.after, earlier.name = change.after, change.name
            earlier.about = {**earlier.about, **change.about}
    return list(by_object.values())


def write(execute: Callable[..., Any], changes: Sequence[Change]) -> None:
    """Add the records of the changes to the chain of each organization; this reads the head in the same transaction."""
    who, at = actor.current().record(), now()
    heads: dict[str, audit.Head] = {}
    rows = []
    for change in joined(changes):
        before, after = difference(change.before, change.after)
        if not (before or after or change.verb):
            continue  # somebody set what was set already
        organization = change.organization_id
        if organization not in heads:
            row = execute(_HEAD, {"organization": organization}).first()
            heads[organization] = audit.Head(row.seq, row.hash) if row else audit.EMPTY
        record = {
            "at": at,
            "organization": organization,
            "action": action_of(change),
            "outcome": DONE,
            "object": {"kind": change.kind, "id": change.id, "name": change.name},
            **who,
            **_about(execute, change),
            **({"before": before} if before else {}),
            **({"after": after} if after else {}),
        }
        record = audit.sealed(record, heads[organization])
        heads[organization] = audit.head_of(record)
        rows.append({"organization_id": organization, "seq": record["seq"], "record": audit.line_of(record)})
    if rows:
        execute(_INSERT, rows)
        for organization, head in heads.items():
            execute(_SET_HEAD, {"organization": organization, "seq": head.seq, "hash": head.hash})


def _about(execute: Callable[..., Any], change: Change) -> Object:
    """Return what else the record says; a rule is shown with its name and the time of its last change."""
    about = {name: value for name, value in change.about.items() if value is not None and value != ""}
    rule_id, version = about.pop("rule_id", None), about.pop("rules_version", None)
    age = about.pop("rules_age_seconds", None)
    if rule_id:
        row = execute(_RULE, {"id": rule_id}).first()
        rule = {"id": rule_id, **({"name": row[0], "changed_at": row[1]} if row else {})}
        about["rule"] = rule | ({"rules_version": version} if version else {})
    elif version:
        about["rule"] = {"rules_version": version}
    if version and age is not None:
        about["rule"]["rules_age_seconds"] = age
    return about
