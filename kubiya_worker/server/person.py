"""This module says who asks: a person with a role, the key that was shown, what that key is limited to, and from where.

A key belongs to one person. A key that was made before keys had persons belongs to the local user, who may do all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

VIEWER: Final = "viewer"  # reads
OPERATOR: Final = "operator"  # reads, starts executions and steers them
APPROVER: Final = "approver"  # reads, and answers requests for approval
ADMIN: Final = "admin"  # everything
WORKER: Final = "worker"  # what a worker asks, and nothing else
ROLES: Final = (VIEWER, OPERATOR, APPROVER, ADMIN, WORKER)


@dataclass(frozen=True)
class Scope:
    """A scope lists what a key is limited to, by ids; None is no limit. An agent's id may also be that of a team."""

    queues: frozenset[str] | None = None
    agents: frozenset[str] | None = None

    @classmethod
    def of(cls, scopes: Mapping[str, Any]) -> Scope:
        """Return the scope that {queues, agents} says; a list that is missing or null is no limit."""
        lists = {name: scopes.get(name) for name in ("queues", "agents")}
        return cls(**{name: None if ids is None else frozenset(ids) for name, ids in lists.items()})

    @property
    def limited(self) -> bool:
        return self.queues is not None or self.agents is not None

    def has_queue(self, queue_id: str) -> bool:
        return self.queues is None or queue_id in self.queues

    def has_agent(self, entity_id: str) -> bool:
        return self.agents is None or entity_id in self.agents

    def covers(self, queue_id: str, entity_id: str) -> bool:
        """Return whether an execution on this queue of this agent or team is within the scope."""
        return self.has_queue(queue_id) and self.has_agent(entity_id)

    def json(self) -> dict[str, list[str] | None]:
        """Return {queues, agents}: lists of ids, or null for no limit."""
        return {
            "queues": None if self.queues is None else sorted(self.queues),
            "agents": None if self.agents is None else sorted(self.agents),
        }


EVERYTHING: Final = Scope()


@dataclass(frozen=True)
class Person:
    """A person is who asks. `id` is one for all their keys: the e-mail in lower case, or else the key's id."""

    id: str
    name: str
    email: str
    role: str = ADMIN
    groups: tuple[str, ...] = ()
    key_id: str = ""  # the first characters of the key's hash; empty where no key was shown
    scope: Scope = EVERYTHING
    address: str = ""  # the client's address; empty for what this control plane does by itself

    def at(self, address: str) -> Person:
        return replace(self, address=address)

    def contact(self) -> dict[str, str]:
        """Return {id, name, email}, as answers, stops and executions name a person."""
        return {"id": self.id, "name": self.name, "email": self.email}

    def requester(self) -> dict[str, Any]:
        """Return the contact with role and groups, as what this person asks for keeps it."""
        return {**self.contact(), "role": self.role, "groups": list(self.groups)}


LOCAL: Final = Person("local", "local user", "local@localhost")


def of_key(key_id: str, about: Mapping[str, Any]) -> Person:
    """Return the person of a key from its stored fields {name, email, role, groups, scopes}; none is the local user."""
    return of_person(about, key_id) if about else replace(LOCAL, key_id=key_id)


def of_person(about: Mapping[str, Any], key_id: str = "") -> Person:
    """Return the person with these fields, who has an e-mail or a key."""
    email = str(about.get("email") or "")
    return Person(
        id=email.lower() or f"key:{key_id}",
        name=str(about.get("name") or email),
        email=email,
        role=str(about["role"]),
        groups=tuple(about.get("groups") or ()),
        key_id=key_id,
        scope=Scope.of(about.get("scopes") or {}),
    )


def of_webhook(job: Mapping[str, Any], address: str) -> Person:
    """Return whom a delivery of a job's webhook stands for: nobody who could sign in."""
    return Person(f"webhook:{job['id']}", f"webhook of the job {job['name']}", "", OPERATOR, address=address)


def of_hook(hook: Mapping[str, Any], address: str) -> Person:
    """Return whom a delivery to a hook stands for: nobody who could sign in."""
    return Person(f"hook:{hook['id']}", f"the hook {hook['name']}", "", OPERATOR, address=address)
