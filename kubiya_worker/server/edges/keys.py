"""This module models what is said about API keys: whose they are, what they may do, and for how long."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from kubiya_worker.server.edges.base import Name, NotSupported, Number, Strict, checked_by, one_of
from kubiya_worker.server.person import ROLES

LONGEST: Final = 3650.0  # days


def _address(text: str) -> None:
    name, at, host = text.partition("@")
    if not (name and at and host) or any(c.isspace() for c in text):
        raise ValueError("email is an address such as ann@example.org")


def _groups(groups: list[str]) -> None:
    for group in groups:
        if not group.strip() or group != group.strip() or "," in group:
            raise ValueError("a group is a name without commas, and without spaces around it")
        if group in ROLES:
            raise ValueError(f"{group} is the name of a role, so a group cannot have it")


_ANOTHER = NotSupported("Make another key, and revoke this one")


class KeyPatch(Strict):
    """A change of a key; null takes a limit or the end away. Whose it is and its role stay: that is another key."""

    nullable: ClassVar[frozenset[str]] = frozenset({"queues", "agents", "expires_in_days"})

    name: Name | None = None
    groups: Annotated[list[str], checked_by(_groups)] | None = None
    queues: Annotated[list[str], Field(min_length=1)] | None = None
    agents: Annotated[list[str], Field(min_length=1)] | None = None
    expires_in_days: Annotated[Number, Field(gt=0, le=LONGEST)] | None = None
    role: Annotated[Any, _ANOTHER] = None
    email: Annotated[Any, _ANOTHER] = None


class NewKey(Strict):
    """A key of a person. `queues` and `agents` (also teams) limit it, by ids or names; without them it has no limit.

    The person of two keys is the same if they have the same e-mail.
    """

    name: Name
    role: Annotated[str, one_of(*ROLES)]
    email: Annotated[str, checked_by(_address)] | None = None
    groups: Annotated[list[str], checked_by(_groups)] | None = None
    queues: Annotated[list[str], Field(min_length=1)] | None = None
    agents: Annotated[list[str], Field(min_length=1)] | None = None
    expires_in_days: Annotated[Number, Field(gt=0, le=LONGEST)] | None = None
