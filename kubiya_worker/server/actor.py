"""This module says who acts now: the person of a request and where it came from, or this control plane by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.server.person import Person

# User agents by how they begin. Others are "other": their own words are not taken into a record.
_CLIENTS: Final = {"kubiya-cli/": "cli", "kubiya-worker/": "worker", "Mozilla/": "browser"}


@dataclass(frozen=True)
class Actor:
    """An actor is who acts. `client` is a kind of program; `request` is the method and the path of the route."""

    person: Person
    client: str = ""
    request: str = ""

    def record(self) -> dict[str, Any]:
        """Return {who, from, request} for a record."""
        person = self.person
        who = {"id": person.id, "name": person.name, "email": person.email, "role": person.role}
        place = {"address": person.address, "client": self.client}
        return {
            "who": {k: v for k, v in {**who, "key": person.key_id}.items() if v},
            **({"from": {k: v for k, v in place.items() if v}} if any(place.values()) else {}),
            **({"request": self.request} if self.request else {}),
        }


PLANE: Final = Actor(Person("control-plane", "the control plane itself", "", role=""))
_now: ContextVar[Actor] = ContextVar("actor", default=PLANE)


def client_of(user_agent: str) -> str:
    """Return the kind of program that sent a request. Pure."""
    return next((kind for start, kind in _CLIENTS.items() if user_agent.startswith(start)), "other")


def of_request(person: Person, request: str, headers: Mapping[str, str]) -> Actor:
    return Actor(person, client_of(headers.get("user-agent", "")), request)


def current() -> Actor:
    return _now.get()


@contextlib.contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Let `actor` be who acts, in this task."""
    before = _now.set(actor)
    try:
        yield
    finally:
        _now.reset(before)
