"""The control plane's HTTP API, as the worker uses it (docs/protocol.md#a): one method for each route. Thread-safe.

`answers.py` says what an answer or a failure means, `contexts.py` reads what an execution works with, and
`write_requests.py` makes writes.
Names and shapes are those of the published server. What only our local control plane can do is used when its start
reply announced it (`features`), and composed from the published routes otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from urllib3.exceptions import HTTPError

from kubiya_worker import __version__
from kubiya_worker.control_plane import errors, lenient, writes
from kubiya_worker.control_plane.answers import API, OPTIONAL_TIMEOUT, PROBE_TIMEOUT, READ_TIMEOUT, Answers
from kubiya_worker.control_plane.contexts import Contexts
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.transport import Transport
from kubiya_worker.control_plane.write_requests import WriteRequests
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import Event

if TYPE_CHECKING:
    from kubiya_worker.control_plane.direct import DirectConnections

log = logging.getLogger(__name__)

FILE_TIMEOUT: Final = (2.0, 20.0)  # for a file of a run, which is sent beside the work


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

    def health(self) -> dict[str, Any]:
        return self._answers.object("GET", "/api/health", prefix="")

    def get_queue(self, queue_id: str) -> dict[str, Any]:
        return self._answers.object("GET", f"/worker-queues/{quote(queue_id, safe='')}")

    def queue_config(self, queue_id: str) -> dict[str, Any]:
        answer = self._call("GET", f"/worker-queues/{quote(queue_id, safe='')}/config", timeout=(2.0, 5.0))
        return answer if isinstance(answer, dict) else {}

    def approvals_waiting(self, queue_id: str) -> int | None:
        """Return the number of open approvals of the queue; None where the control plane does not count them."""
        metrics = self._call("GET", f"/worker-queues/{quote(queue_id, safe='')}/metrics", timeout=(5.0, 10.0))
        number = metrics.get("approvals_waiting") if isinstance(metrics, dict) else None
        return number if isinstance(number, int) else None

    def queue_executions(self, queue_id: str) -> list[dict[str, Any]]:
        """Return the newest few executions of the queue, of any status."""
        answer = self._call("GET", f"/worker-queues/{quote(queue_id, safe='')}/executions?limit=5&status=all")
        if isinstance(answer, dict):
            answer = next((v for v in answer.values() if isinstance(v, list)), [])
        return lenient.only_objects(answer)

    def delete_queue(self, queue_id: str) -> None:
        self._call("DELETE", f"/worker-queues/{quote(queue_id, safe='')}", timeout=(2.0, 5.0))

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

    # -- agents

    def agent(self, agent_id: str) -> dict[str, Any]:
        """Return an agent; an empty object when there is none."""
        return dict(self._answers.optional(f"/agents/{quote(agent_id, safe='')}", {}))

    def team(self, team_id: str) -> dict[str, Any]:
        return dict(self._answers.optional(f"/teams/{quote(team_id, safe='')}", {}))

    def find(self, kind: str, key: str) -> dict[str, Any]:
        """Find an agent or a team by id or by name, and return it; an empty object when there is none.

        Not every control plane accepts a name in place of an id; then the list of all is searched.
        """
        path = f"/{kind}s"
        entity = dict(self._answers.optional(f"{path}/{quote(key, safe='')}", {}))
        if entity:
            return entity
        entities = self._answers.optional(path, [])
        namesakes = (x for x in lenient.only_objects(entities) if str(x.get("name") or "").lower() == key.lower())
        return dict(next(namesakes, {}))

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

    def skill(self, skill_id: str) -> dict[str, Any]:
        return self._answers.object("GET", f"/skills/{quote(skill_id, safe='')}")

    def secrets(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return secrets for their use now: {values, missing: name -> why}.

        `question`: {worker_id, execution_id, kind, entity_id, names}. The answer must never leave this process.
        """
        return self._answers.object("POST", "/secrets/resolve", question, timeout=READ_TIMEOUT)

    # -- files

    def run_files(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the files of an execution that are stored: {path, size, sha256, refused}."""
        answer = self._call("GET", f"/executions/{quote(execution_id, safe='')}/files", timeout=READ_TIMEOUT)
        return [each for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []

    def run_file(self, execution_id: str, path: str, most: int) -> bytes:
        """Return what is in a stored file of an execution, at most `most` bytes. Raises ControlPlaneError."""
        url = f"{self.base_url}{API}/executions/{quote(execution_id, safe='')}/files/{quote(path, safe='')}"
        reply = self._wire.open(url, {}, timeout=FILE_TIMEOUT)
        try:
            if reply.status >= 400:
                raise errors.from_status(reply.status, f"The file {path!r} was answered with {reply.status}", None)
            return bytes(reply.read(most))
        except HTTPError as error:
            raise errors.Unreachable(f"The file {path!r} broke off: {error}", remedy="It is tried again") from error
        finally:
            reply.close()

    def store_run_file(self, execution_id: str, body: dict[str, Any]) -> None:
        """Store a file {path, content in base64}, or name one {path, size, refused} that is not stored."""
        self._call("POST", f"/executions/{quote(execution_id, safe='')}/files", body, timeout=FILE_TIMEOUT)

    # -- approvals

    def create_approval(self, approval: dict[str, Any]) -> dict[str, Any]:
        return self._answers.object("POST", "/approvals", approval)

    def get_approval(self, approval_id: str) -> dict[str, Any]:
        return self._answers.object("GET", f"/approvals/{quote(approval_id, safe='')}")

    def approvals_of(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the newest requests for approval of an execution, newest first."""
        answer = self._call("GET", f"/approvals?execution_id={quote(execution_id, safe='')}&limit=200")
        return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []

    def resolve_approvers(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return who may decide on a tool call, by the rules of now: {rule_id?, rule?, approver_emails, …}."""
        return self._answers.object("POST", "/approval-rules/resolve", question)

    def expire_approval(self, approval_id: str) -> None:
        try:
            self._call("POST", f"/approvals/{quote(approval_id, safe='')}/expire", {})
        except errors.Refused:
            log.info("approval.expire not taken by the control plane approval_id=%s", approval_id)

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
