"""This module asks a stack's own control plane whether it answers, and for a queue."""

from __future__ import annotations

import json
import uuid
from typing import Any

from kubiya_worker import loopback
from kubiya_worker.errors import ConfigurationError


class StackClient:
    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def answers(self) -> bool:
        return self._request("GET", "/health")[0] == 200

    def ensure_queue(self, queue: str) -> None:
        """Make sure that the queue exists. A name is created; an unknown id raises ConfigurationError."""
        if self._request("GET", f"/api/v1/worker-queues/{queue}")[0] == 200:
            return
        try:
            uuid.UUID(queue)
        except ValueError:
            status, answer = self._request("POST", "/api/v1/environments/default/worker-queues", {"name": queue})
            if status == 201:
                return
            raise ConfigurationError(
                f"The queue {queue!r} could not be made: {(answer or {}).get('detail')}",
                remedy="Give another --queue-id, or one of a queue that is there: kubiya queues ls",
            ) from None
        raise ConfigurationError(f"There is no queue with the id {queue}", remedy="Give a name, and it is made")

    def _request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request. Return status and JSON; (0, None) without an answer."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            text = None if body is None else json.dumps(body)
            status, reply = loopback.request(method, f"{self._url}{path}", timeout=5, body=text, headers=headers)
            return status, json.loads(reply or b"null")
        except (OSError, ValueError):
            return 0, None
