"""This module keeps in memory what a worker has read and made of the executions that it works on.

Any of it may be missing, as after a restart or where another worker made the steps before: it is then read or made
again. Nothing here is the only copy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kubiya_worker.activities.known_secrets import KnownSecrets
from kubiya_worker.activities.offer import Offer
from kubiya_worker.activities.transcripts import Transcripts
from kubiya_worker.activities.turn_end import Posted
from kubiya_worker.protocol.calls import Context
from kubiya_worker.tools.base import Toolset
from kubiya_worker.tools.redaction import Redactor

V = TypeVar("V")


class Recent(Generic[V]):
    """A cache keeps the `limit` values that were used last, by execution id."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, value: V) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def forget(self, key: str) -> None:
        self._kept.pop(key, None)


@dataclass(frozen=True)
class ExecutionMemory:
    """The memory of a worker's executions, by their ids."""

    transcripts: Transcripts = field(default_factory=Transcripts)
    contexts: Recent[Context] = field(default_factory=Recent)
    offers: Recent[Offer] = field(default_factory=Recent)
    # With the version of the tools and of the authority that they were made from.
    toolsets: Recent[tuple[tuple[int, str], Toolset]] = field(default_factory=Recent)
    # For tools only, never in the history; the templates in them are filled in at each use.
    environments: Recent[Mapping[str, str]] = field(default_factory=Recent)
    secrets_known: Recent[KnownSecrets] = field(default_factory=Recent)
    servers: Recent[Mapping[str, Any]] = field(default_factory=Recent)  # the environments' MCP servers, the same
    turns: Recent[Posted] = field(default_factory=Recent)  # the turns posted last; `forget` leaves them
    redactors: Recent[Redactor] = field(default_factory=Recent)  # with what an execution's environment hides

    def offer_of(self, execution_id: str, context: Context) -> Offer:
        known = self.offers.get(execution_id)
        if known is None or not known.fits(context):
            known = Offer.of(context)
            self.offers.put(execution_id, known)
        return known

    def forget(self, execution_id: str) -> None:
        """Drop what is kept of an execution that is over."""
        every = (self.transcripts, self.contexts, self.offers, self.toolsets, self.environments, self.servers)
        for kept in (*every, self.redactors, self.secrets_known):
            kept.forget(execution_id)
