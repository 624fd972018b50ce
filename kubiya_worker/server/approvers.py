"""This module decides who may answer a request for approval: those that its rule names now, and nobody else. Pure.

A rule names persons by e-mail (`user_emails`), groups (`group`) or roles (`role`). Without such a rule, approvers and
admins may answer; an agent's question also operators. With `separate_approver`, nobody may who asked for the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.server.person import ADMIN, APPROVER, OPERATOR, Person

EMAILS: Final = "user_emails"
GROUP: Final = "group"
ROLE: Final = "role"
TYPES: Final = (EMAILS, GROUP, ROLE)
OF_RULE: Final = ("approver_type", "approver_value", "separate_approver")  # fields of a rule that a request keeps


@dataclass(frozen=True)
class Approvers:
    """Approvers are persons, groups and roles of which one is enough; `asked` are the ids of those who may not."""

    emails: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def refusal(self, person: Person) -> str:
        """Return why a person may not answer; empty when they may."""
        named = (
            person.email.lower() in self.emails
            or person.role in self.roles
            or not set(person.groups).isdisjoint(self.groups)
        )
        if not named:
            return f"{_who(person)} may not answer this. It may be answered by {self.text()}"
        if person.id in self.asked:
            return f"{_who(person)} asked for this work, so somebody else must answer: {self.text()}"
        return ""

    def text(self) -> str:
        """Return in words who may answer."""
        several = "members of the groups" if len(self.groups) > 1 else "members of the group"
        parts = [
            *self.emails,
            *([f"{several} {' and '.join(self.groups)}"] if self.groups else []),
            *([f"persons with the role {' or '.join(self.roles)}"] if self.roles else []),
        ]
        return ", or ".join(parts) or "nobody: its rule names nobody"

    def json(self) -> dict[str, Any]:
        """Return {emails, groups, roles, not, text}; `not` are ids of persons who asked for the work."""
        lists = {name: list(getattr(self, name)) for name in ("emails", "groups", "roles")}
        return {**lists, "not": list(self.asked), "text": self.text()}


def _who(person: Person) -> str:
    return f"{person.name} ({person.email})" if person.email else person.name


def names_in(value: Any) -> tuple[str, ...]:
    """Return the names of a rule's `approver_value`: a list, or a text with commas."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return tuple(dict.fromkeys(name.strip() for name in map(str, words) if name.strip()))


def approvers(approval: Mapping[str, Any], rule: Mapping[str, Any] | None, asked: Iterable[str]) -> Approvers:
    """Return who may answer a request.

    `rule` is the rule of now; where it was deleted, what it said when the request was made holds (`approval["rule"]`).
    A rule of the worker's host, which is not stored here, names persons and a group in the request itself.
    """
    known = rule if rule is not None else approval.get("rule")
    context = approval.get("enforcement_context") or {}
    if known:
        separate = tuple(dict.fromkeys(asked)) if known.get("separate_approver") else ()
        kind, names = known.get("approver_type"), names_in(known.get("approver_value"))
    else:
        separate, kind, names = (), None, ()
        emails, groups = names_in(approval.get("approver_emails")), names_in([context.get("approver_group_name") or ""])
        if emails or groups:
            return Approvers(tuple(map(str.lower, emails)), groups)
    if kind == EMAILS:
        return Approvers(emails=tuple(map(str.lower, names)), asked=separate)
    if kind == GROUP:
        return Approvers(groups=names, asked=separate)
    if kind == ROLE:
        return Approvers(roles=names, asked=separate)
    usual = (OPERATOR, APPROVER, ADMIN) if context.get("question") else (APPROVER, ADMIN)
    return Approvers(roles=usual, asked=separate)
