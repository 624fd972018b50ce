"""This module says who acts now: the person of a request and where it came from, or this control plane by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from kubiya_worker import credentials
from kubiya_worker.protocol import names
from kubiya_worker.server.person import Person

HIDDEN: Final = "(hidden)"
LONGEST: Final = 500  # characters of a reason
_REASON: Final = names.REASON_HEADER.lower()  # as all names of headers are here
# User agents by how they begin. Others are "other": their own words are not taken into a record.
_CLIENTS: Final = {"kubiya-cli/": "cli", "kubiya-worker/": "worker", "Mozilla/": "browser"}


@dataclass(frozen=True)
class Actor:
    """An actor is who acts. `client` is a kind of program; `request` is the method and the path of the route."""

    person: Person
    client: str = ""
    request: str = ""
    reason: str = ""  # why, in the person's own words

    def record(self) -> dict[str, Any]:
        """Return {who, from, request, reason} for a record."""
        person = self.person
        who = {"id": person.id, "name": person.name, "email": person.email, "role": person.role}
        place = {"address": person.address, "client": self.client}
        return {
            "who": {k: v for k, v in {**who, "key": person.key_id}.items() if v},
            **({"from": {k: v for k, v in place.items() if v}} if any(place.values()) else {}),
            **({"request": self.request} if self.request else {}),
            **({"reason": self.reason} if self.reason else {}),
        }


PLANE: Final = Actor(Person("control-plane", "the control plane itself", "", role=""))
_now: ContextVar[Actor] = ContextVar("actor", default=PLANE)


def client_of(user_agent: str) -> str:
    """Return the kind of program that sent a request. Pure."""
    return next((kind for start, kind in _CLIENTS.items() if user_agent.startswith(start)), "other")


def of_request(person: Person, request: str, headers: Mapping[str, str]) -> Actor:
    return Actor(person, client_of(headers.get("user-agent", "")), request, reason_of(headers))


def reason_of(headers: Mapping[str, str]) -> str:
    """Return why a request is made, as its client says; what may hold a credential is in no record. Pure."""
    header = headers.get(_REASON)
    if not header:  # as with nearly every request
        return ""
    words = " ".join(unquote(header).split())
    text = "".join(c for c in words if c.isprintable())[:LONGEST]
    return HIDDEN if next(credentials.of_text(text), None) is not None else text


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
