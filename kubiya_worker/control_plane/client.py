"""The control plane's HTTP API, as the worker uses it (docs/protocol.md#a): one method for each route. Thread-safe.

The routes about the worker and its executions are here, others in `*_routes.py` by their noun. `answers.py` says
what an answer or a failure means, `contexts.py` reads what an execution works with, and `write_requests.py` makes
writes.
Names and shapes are those of the published server. What only our local control plane can do is used when its start
reply announced it (`features`), and composed from the published routes otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kubiya_worker import __version__
from kubiya_worker.control_plane import errors, lenient, writes
from kubiya_worker.control_plane.answers import API, OPTIONAL_TIMEOUT, PROBE_TIMEOUT, READ_TIMEOUT, Answers
from kubiya_worker.control_plane.approval_routes import ApprovalRoutes
from kubiya_worker.control_plane.contexts import Contexts
from kubiya_worker.control_plane.definition_routes import DefinitionRoutes
from kubiya_worker.control_plane.queue_routes import QueueRoutes
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.run_file_routes import RunFileRoutes
from kubiya_worker.control_plane.transport import Transport
from kubiya_worker.control_plane.write_requests import WriteRequests
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import Event

if TYPE_CHECKING:
    from kubiya_worker.control_plane.direct import DirectConnections


class ControlPlane:
    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        user_agent: str = f"kubiya-worker/{__version__}",
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        features: frozenset[str] = frozenset(),
        direct: bool = False,
    ) -> None:
        """Set up the client. `direct` uses no proxy, whatever the environment says. Time limits are in seconds."""
        self.base_url = base_url.rstrip("/")
        self.features = features
        self.event_lag = 0.0  # seconds: age of the first event of the last request, at its end
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": user_agent}
        self._wire = Transport(
            self.base_url, headers, connect_timeout=connect_timeout, read_timeout=read_timeout, direct=direct
        )
        self._answers = Answers(self._call)
        self.approvals = ApprovalRoutes(self._answers)
        self.definitions = DefinitionRoutes(self._answers)
        self.queues = QueueRoutes(self._answers)
        self.run_files = RunFileRoutes(self.base_url, self._answers, self._wire)
        self.contexts = Contexts(self.base_url, self._answers, lambda: self.features)
        self.write_requests = WriteRequests(self.base_url, self._answers, self._wire, lambda: self.features)

    def close(self) -> None:
        self._wire.close()

    # -- worker

    def start_worker(
        self, queue_id: str, *, sdk_version: str, system_info: dict[str, Any], worker_id: str | None = None
    ) -> Registration:
        """Register the worker. `worker_id` is a wish: a control plane that assigns ids itself ignores it."""
        body = {"worker_sdk_version": sdk_version, "control_plane_url": self.base_url, "system_info": system_info}
        body |= {"worker_id": worker_id} if worker_id else {}
        raw = self._call("POST", f"/worker-queues/{quote(queue_id, safe='')}/start", body)
        remedy = "Is this URL a Kubiya control plane?"
        if not isinstance(raw, dict):
            raise errors.Refused(f"{self.base_url} answered the registration with no JSON object", remedy=remedy)
        try:
            registration = Registration.parse(raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise errors.Refused(f"{self.base_url} answered the registration without {error}", remedy=remedy) from error
        self.features = frozenset(registration.features)
        return registration

    def heartbeat(self, worker_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a heartbeat. The answer of a published control plane says nothing."""
        answer = self._call("POST", f"/workers/{quote(worker_id, safe='')}/heartbeat", payload, timeout=(5.0, 10.0))
        return answer if isinstance(answer, dict) and names.FEATURE_WISHES in self.features else {}

    def disconnect(
        self, worker_id: str, *, reason: str, exit_code: int | None = None, error_message: str | None = None
    ) -> None:
        body = {"reason": reason, "exit_code": exit_code, "error_message": error_message}
        body = {name: value for name, value in body.items() if value is not None}
        self._call("POST", f"/workers/{quote(worker_id, safe='')}/disconnect", body, timeout=(2.0, 3.0))

    @property
    def skew(self) -> float | None:
        """Return the seconds that this host's clock is ahead of the control plane's; None when that is not known."""
        return self._wire.skew

    def refuse_other_servers(self, error: errors.ControlPlaneError) -> None:
        """Raise Refused where the server that gave this answer is no control plane, but another kind of server."""
        found = self._wire.foreign() if error.status in errors.NOT_SERVED else ""
        if found:
            raise errors.foreign_server(self.base_url, found) from error

    def health(self) -> dict[str, Any]:
        return self._answers.object("GET", "/api/health", prefix="")

    # -- executions

    def get_execution(self, execution_id: str, timeout: tuple[float, float] | None = None) -> dict[str, Any]:
        return self._answers.object("GET", f"/executions/{execution_id}", timeout=timeout)

    def is_there(self, execution_id: str, timeout: tuple[float, float] = PROBE_TIMEOUT) -> bool:
        """Return whether the control plane, and the database behind it, can be asked about an execution."""
        return self._answers.is_there(execution_id, timeout)

    def turns_posted(self, execution_id: str) -> dict[str, Any]:
        """Return {turns, tool_calls} that the control plane has of an execution; empty where it does not say."""
        try:
            return self._answers.object(
                "GET", f"/analytics/executions/{execution_id}/details", timeout=OPTIONAL_TIMEOUT
            )
        except errors.ControlPlaneError:
            return {}

    def patch_execution(self, execution_id: str, **fields: Any) -> dict[str, Any]:
        return self.write_requests.one(writes.execution(execution_id, **fields))

    def publish(self, execution_id: str, events: list[Event], after: Sequence[str] = ()) -> None:
        """Append events in order. The batch route drops those whose event_id it has.

        `after`: ids of events that have to be stored before these. While they are not, Unreachable (425) is raised,
        although the events are stored.
        """
        try:
            self.write_requests.one(writes.events(execution_id, events, after))
        finally:
            if events:
                self.event_lag = ev.age(events[0])

    def session_messages(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the stored messages; none when there is no session. Raise ControlPlaneError for any other failure."""
        try:
            return lenient.only_objects(
                self._answers.object("GET", f"/executions/{execution_id}/session").get("messages")
            )
        except errors.ControlPlaneError as error:
            if error.status != 404:
                raise
            return []

    def start_execution(self, kind: str, entity_id: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        """Start an execution; the same `key` starts it once, where the control plane knows such keys."""
        path = f"/{kind}s/{quote(entity_id, safe='')}/execute"
        answer = self._call("POST", path, body, headers={"Idempotency-Key": key})
        return answer if isinstance(answer, dict) else {}

    def send_message(self, execution_id: str, text: str) -> None:
        self._call("POST", f"/executions/{quote(execution_id, safe='')}/message", {"message": text})

    def find_execution(self, execution_id: str) -> dict[str, Any]:
        """Return an execution's row; an empty object when there is none."""
        return dict(self._answers.optional(f"/executions/{quote(execution_id, safe='')}", {}))

    def secrets(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return secrets for their use now: {values, missing: name -> why}.

        `question`: {worker_id, execution_id, kind, entity_id, names}. The answer must never leave this process.
        """
        return self._answers.object("POST", "/secrets/resolve", question, timeout=READ_TIMEOUT)

    # -- the wire

    def directly(self) -> DirectConnections | None:
        return self._wire.directly()

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefix: str = API,
        timeout: tuple[float, float] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        return self._wire.call(method, f"{self.base_url}{prefix}{path}", body, timeout=timeout, headers=headers)
