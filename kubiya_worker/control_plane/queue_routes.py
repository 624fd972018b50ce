"""The control plane's routes about worker queues. Each method raises ControlPlaneError."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.answers import Answers


class QueueRoutes:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def get(self, queue_id: str) -> dict[str, Any]:
        return self._answers.object("GET", f"/worker-queues/{quote(queue_id, safe='')}")

    def config(self, queue_id: str) -> dict[str, Any]:
        answer = self._answers.call("GET", f"/worker-queues/{quote(queue_id, safe='')}/config", timeout=(2.0, 5.0))
        return answer if isinstance(answer, dict) else {}

    def approvals_waiting(self, queue_id: str) -> int | None:
        """Return the number of open approvals of the queue; None where the control plane does not count them."""
        metrics = self._answers.call("GET", f"/worker-queues/{quote(queue_id, safe='')}/metrics", timeout=(5.0, 10.0))
        number = metrics.get("approvals_waiting") if isinstance(metrics, dict) else None
        return number if isinstance(number, int) else None

    def executions(self, queue_id: str) -> list[dict[str, Any]]:
        """Return the newest few executions of the queue, of any status."""
        answer = self._answers.call("GET", f"/worker-queues/{quote(queue_id, safe='')}/executions?limit=5&status=all")
        if isinstance(answer, dict):
            answer = next((v for v in answer.values() if isinstance(v, list)), [])
        return lenient.only_objects(answer)

    def delete(self, queue_id: str) -> None:
        self._answers.call("DELETE", f"/worker-queues/{quote(queue_id, safe='')}", timeout=(2.0, 5.0))
