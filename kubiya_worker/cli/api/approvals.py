"""This module has the calls for requests for approval."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from kubiya_worker.cli import choice
from kubiya_worker.cli.connection import Api
from kubiya_worker.control_plane import errors


class ApprovalsApi:
    """The calls of a person's commands for requests for approval."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self, status: str = "", queue: str = "") -> list[dict[str, Any]]:
        """Return requests for approval, newest first; with a queue, by id or name, those of its executions."""
        filters = {"limit": "500", **({"status": status} if status else {}), **({"queue": queue} if queue else {})}
        return self._api.objects(f"/approvals?{urlencode(filters)}")

    def get(self, approval_id: str) -> dict[str, Any]:
        return self._api.object("GET", f"/approvals/{quote(approval_id, safe='')}")

    def find(self, key: str) -> dict[str, Any]:
        """Find a request by its id or the first characters of it. Raises UsageError when there is none, or several."""
        try:
            if key.strip():
                return self.get(quote(key, safe=""))
        except errors.Refused as error:
            if error.status != 404:
                raise
        return choice.choose("request", key, self.all(), fields=("id",))

    def approve(
        self,
        approval_id: str,
        *,
        comment: str = "",
        arguments: dict[str, Any] | None = None,
        remember: bool = False,
        answer: str | None = None,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"comment": comment, **({"answer": answer} if answer is not None else {})}
        body |= {"arguments": arguments} if arguments is not None else {}
        body |= {"remember": True} if remember else {}
        return self._api.object("POST", f"/approvals/{approval_id}/approve", body)

    def reject(self, approval_id: str, why: str = "") -> dict[str, Any]:
        return self._api.object("POST", f"/approvals/{approval_id}/reject", {"reason": why})
