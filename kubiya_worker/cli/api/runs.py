"""This module asks the control plane about executions: lists page by page, one by the beginning of its id, events."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from kubiya_worker.cli import choice
from kubiya_worker.cli.connection import Api
from kubiya_worker.control_plane.errors import Refused
from kubiya_worker.errors import UsageError

PAGE: Final = 100  # executions of one request
EVENTS: Final = 1_000  # events of one request
PUBLISHED: Final = frozenset({"status"})  # the filters that every control plane has

Run = dict[str, Any]


def id_for_filter(key: str, find: Callable[[str], Mapping[str, Any]]) -> str:
    """Return the id for an id, a name, or the beginning of one of them; empty for none.

    A whole id is not looked up: what was deleted is in no list, and its executions are still there.
    """
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return str(find(key)["id"]) if key else ""


class RunApi:
    """The calls of `kubiya runs`."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def pages(self, filters: Mapping[str, str], limit: int, cursor: str = "") -> Iterator[tuple[list[Run], str | None]]:
        """Yield pages of executions with the cursor of the next one, until there are no more or `limit` are there.

        Raises UsageError for a control plane that cannot filter so: one that ignores a filter would show too much.
        """
        asked = {name: value for name, value in filters.items() if value}
        left, after = limit, cursor
        while left > 0:
            wanted = {**asked, "summary": "true", "limit": str(min(PAGE, left)), "cursor": after}
            answer = self.api.ask("GET", f"/executions?{urlencode(wanted)}")
            if isinstance(answer, list):
                yield from self._published(answer, asked, limit)
                return
            runs = [one for one in answer.get("executions") or () if isinstance(one, dict)]
            left -= len(runs)
            after = answer.get("next") or ""
            yield runs, after or None
            if not after:
                return

    def _published(
        self, first: list[Run], asked: Mapping[str, str], limit: int
    ) -> Iterator[tuple[list[Run], str | None]]:
        """Yield the pages of a control plane that knows no cursor and few filters."""
        strange = sorted(set(asked) - PUBLISHED)
        if strange:
            raise UsageError(
                f"The control plane at {self.api.base_url} cannot filter by {', '.join(strange)}",
                remedy="Leave it out, or ask a local control plane",
            )
        runs, left, skip = first, limit, 0
        while runs and left > 0:
            yield runs[:left], None
            left, skip = left - len(runs), skip + len(runs)
            if len(runs) < min(PAGE, left + len(runs)):
                return
            wanted = {"skip": str(skip), "limit": str(min(PAGE, left))}
            wanted |= {"status_filter": asked["status"]} if asked.get("status") else {}
            runs = self.api.ask("GET", f"/executions?{urlencode(wanted)}") if left > 0 else []

    def find(self, key: str) -> Run:
        """Return an execution by its id or the beginning of it. Raises UsageError, which lists those that fit."""
        if not key.strip():
            raise UsageError("The execution's id is empty", remedy="kubiya runs ls shows the ids")
        try:
            return dict(self.api.ask("GET", f"/executions/{quote(key, safe='')}"))
        except Refused as error:
            if error.status != 404:
                raise
        if len(key) < choice.FEWEST:
            raise UsageError(
                f"There is no execution {choice.quoted(key)}",
                remedy=f"Give at least {choice.FEWEST} characters of its id",
            )
        matches = [one for one in self._begun(key) if str(one.get("id")).startswith(key)]
        if len(matches) == 1:
            return dict(self.api.ask("GET", f"/executions/{quote(str(matches[0]['id']), safe='')}"))
        if not matches:
            raise UsageError(f"There is no execution {choice.quoted(key)}", remedy="kubiya runs ls shows the ids")
        listed = choice.listing([{"id": one["id"], "name": ""} for one in matches], ("id", "name"))
        raise UsageError(f"{len(matches)} executions begin with {choice.quoted(key)}", remedy=f"These fit: {listed}")

    def _begun(self, key: str) -> list[Run]:
        wanted = {"cursor": "", "id": key, "limit": "20", "summary": "true"}
        answer = self.api.ask("GET", f"/executions?{urlencode(wanted)}")
        return list(answer if isinstance(answer, list) else answer["executions"])

    def events(self, execution_id: str) -> Iterator[dict[str, Any]]:
        """Yield all stored events {sequence, event_type, timestamp, data}, oldest first."""
        after = 0
        while True:
            path = f"/executions/{quote(execution_id, safe='')}/events?after={after}&limit={EVENTS}"
            events = list(self.api.ask("GET", path))
            yield from events
            if len(events) < EVENTS:
                return
            after = int(events[-1]["sequence"])

    def cancel(self, execution_id: str, reason: str) -> str:
        """Cancel an execution; return what the control plane says. Raises UsageError when it is over already."""
        body = {"reason": reason} if reason else {}
        answer = self.api.ask("POST", f"/executions/{quote(execution_id, safe='')}/cancel", body) or {}
        if not answer.get("success", True):
            raise UsageError(
                str(answer.get("error") or "The execution cannot be cancelled"),
                remedy=f"kubiya runs show {execution_id} says how it stands",
            )
        return str(answer.get("message") or "cancelled")

    def retry(self, execution_id: str, queue: str) -> dict[str, Any]:
        """Start the same again; return {execution_id, page}."""
        body = {"worker_queue_id": queue} if queue else {}
        return dict(self.api.ask("POST", f"/executions/{quote(execution_id, safe='')}/retry", body))

    def fork(self, execution_id: str, at: int, **wanted: str) -> dict[str, Any]:
        """Start a new execution from a step on, by the number of an event of it; return {execution_id, page}."""
        body = {"at": at, **{name: value for name, value in wanted.items() if value}}
        return dict(self.api.ask("POST", f"/executions/{quote(execution_id, safe='')}/fork", body))

    def say(self, execution_id: str, text: str) -> dict[str, Any]:
        """Send a message, with an id of its own so that it counts once; return {success, message_id, message}."""
        body = {"message": text, "message_id": f"{execution_id}_{uuid.uuid4().hex}"}
        return dict(self.api.ask("POST", f"/executions/{quote(execution_id, safe='')}/message", body))
