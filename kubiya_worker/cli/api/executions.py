"""This module has the calls for one execution: its start, its state, its stream, its end."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from urllib3 import BaseHTTPResponse

from kubiya_worker.cli import choice
from kubiya_worker.cli.connection import Api
from kubiya_worker.control_plane import errors
from kubiya_worker.errors import UsageError, WorkerError


class ExecutionsApi:
    """The calls of a person's commands for one execution."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def start(self, kind: str, entity_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start an execution of an agent or a team. Return {execution_id, page?}."""
        answer = self._api.object("POST", f"/{kind}s/{quote(entity_id, safe='')}/execute", body)
        if not answer.get("execution_id"):
            raise WorkerError(
                f"{self._api.base_url} started no execution", remedy="Is this URL a Kubiya control plane?"
            )
        return answer

    def get(self, execution_id: str) -> dict[str, Any]:
        """Return an execution. Raises UsageError when there is none with this id."""
        if not execution_id.strip():
            raise UsageError("The execution's id is empty", remedy="kubiya exec prints it at the end of a run")
        try:
            return self._api.object("GET", f"/executions/{quote(execution_id, safe='')}")
        except errors.Refused as error:
            if error.status == 404:
                raise UsageError(
                    f"There is no execution {choice.quoted(execution_id)}", remedy="kubiya runs ls shows the ids"
                ) from error
            raise

    def cancel(self, execution_id: str) -> None:
        self._api.ask("POST", f"/executions/{execution_id}/cancel", {})

    def mark_done(self, execution_id: str) -> None:
        self._api.ask("POST", f"/executions/{execution_id}/mark-done", {})

    def send_text(self, execution_id: str, text: str) -> None:
        self._api.ask("POST", f"/executions/{execution_id}/message", {"message": text})

    def open_stream(self, execution_id: str, last_event_id: str) -> BaseHTTPResponse:
        """Return the events after `last_event_id`, as a response that is read piece by piece."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Last-Event-ID": last_event_id}
        return self._api.open(f"/executions/{quote(execution_id, safe='')}/stream", "The stream", headers)

    def open_file(self, execution_id: str, path: str) -> BaseHTTPResponse:
        """Return a file of an execution, as a response that is read piece by piece. Raises ControlPlaneError."""
        key, name = quote(execution_id, safe=""), quote(path, safe="")
        return self._api.open(f"/executions/{key}/files/{name}", "The file")
