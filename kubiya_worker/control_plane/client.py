"""The control plane's HTTP API, as the worker uses it (docs/protocol.md#a). Synchronous and thread-safe.

Names and shapes are those of the published server. What only our local control plane can do is used when its start
reply announced it (`features`), and composed from the published routes otherwise.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from urllib3.exceptions import HTTPError

from kubiya_worker import __version__
from kubiya_worker.control_plane import errors, writes
from kubiya_worker.control_plane.direct import DirectConnections, is_small
from kubiya_worker.control_plane.json_values import encoded
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.transport import Transport, detail_of, one_line
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import Event

log = logging.getLogger(__name__)

API: Final = "/api/v1"
REQUEST_BYTES: Final = 1_000_000  # size of several groups in one request; a larger group goes alone
# Seconds to connect, and to wait for bytes, where an execution goes on without the answer.
OPTIONAL_TIMEOUT: Final = (2.0, 4.0)
TURN_TIMEOUT: Final = (2.0, 8.0)  # the judge takes up to 5 s
READ_TIMEOUT: Final = (3.0, 10.0)  # seconds, for data that an execution can go without
FILE_TIMEOUT: Final = (2.0, 20.0)  # for a file of a run, which is sent beside the work
PROBE_TIMEOUT: Final = (1.0, 1.5)
EVENTS_REMEMBERED: Final = 20_000  # ids of events that a control plane without deduplication has taken

# The outcome of a group of writes: the answer to each, or the error of the group.
Outcome = list[dict[str, Any]] | errors.ControlPlaneError


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
        self._accepted_events: OrderedDict[tuple[str, str], None] = (
            OrderedDict()
        )  # events that were sent singly, and taken
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": user_agent}
        self._wire = Transport(
            self.base_url, headers, connect_timeout=connect_timeout, read_timeout=read_timeout, direct=direct
        )

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
        found = self._call("POST", f"/workers/{worker_id}/heartbeat", payload, timeout=(5.0, 10.0))
        return found if isinstance(found, dict) and names.FEATURE_WISHES in self.features else {}

    def disconnect(
        self, worker_id: str, *, reason: str, exit_code: int | None = None, error_message: str | None = None
    ) -> None:
        body = {"reason": reason, "exit_code": exit_code, "error_message": error_message}
        body = {name: value for name, value in body.items() if value is not None}
        self._call("POST", f"/workers/{worker_id}/disconnect", body, timeout=(2.0, 3.0))

    @property
    def skew(self) -> float | None:
        """Return the seconds that this host's clock is ahead of the control plane's; None when that is not known."""
        return self._wire.skew

    def health(self) -> dict[str, Any]:
        return self._object("GET", "/api/health", prefix="")

    def get_queue(self, queue_id: str) -> dict[str, Any]:
        return self._object("GET", f"/worker-queues/{quote(queue_id, safe='')}")

    def queue_config(self, queue_id: str) -> dict[str, Any]:
        found = self._call("GET", f"/worker-queues/{quote(queue_id, safe='')}/config", timeout=(2.0, 5.0))
        return found if isinstance(found, dict) else {}

    def approvals_waiting(self, queue_id: str) -> int | None:
        """Return the number of open approvals of the queue; None where the control plane does not count them."""
        found = self._call("GET", f"/worker-queues/{quote(queue_id, safe='')}/metrics", timeout=(5.0, 10.0))
        number = found.get("approvals_waiting") if isinstance(found, dict) else None
        return number if isinstance(number, int) else None

    def queue_executions(self, queue_id: str) -> list[dict[str, Any]]:
        """Return the newest few executions of the queue, of any status."""
        found = self._call("GET", f"/worker-queues/{quote(queue_id, safe='')}/executions?limit=5&status=all")
        if isinstance(found, dict):
            found = next((v for v in found.values() if isinstance(v, list)), [])
        return [row for row in found or [] if isinstance(row, dict)]

    def delete_queue(self, queue_id: str) -> None:
        self._call("DELETE", f"/worker-queues/{quote(queue_id, safe='')}", timeout=(2.0, 5.0))

    # -- executions

    def get_execution(self, execution_id: str, timeout: tuple[float, float] | None = None) -> dict[str, Any]:
        return self._object("GET", f"/executions/{execution_id}", timeout=timeout)

    def is_there(self, execution_id: str, timeout: tuple[float, float] = PROBE_TIMEOUT) -> bool:
        """Return whether the control plane is there: it reads the execution's row, or says that there is none.

        /api/health is no use here: it answers "healthy" while the database behind it is down.
        """
        try:
            self.get_execution(execution_id, timeout)
        except errors.ControlPlaneError as error:
            return not error.retryable and error.status is not None  # no status: a page of something else, not this API
        return True

    def turns_posted(self, execution_id: str) -> dict[str, Any]:
        """Return {turns, tool_calls} that the control plane has of an execution; empty where it does not say."""
        try:
            return self._object("GET", f"/analytics/executions/{execution_id}/details", timeout=OPTIONAL_TIMEOUT)
        except errors.ControlPlaneError:
            return {}

    def patch_execution(self, execution_id: str, **fields: Any) -> dict[str, Any]:
        return self.write(writes.execution(execution_id, **fields))

    def publish(self, execution_id: str, events: list[Event], after: Sequence[str] = ()) -> None:
        """Append events in order. The batch route drops those whose event_id it has.

        `after`: ids of events that have to be stored before these. While they are not, Unreachable (425) is raised,
        although the events are stored.
        """
        try:
            self.write(writes.events(execution_id, events, after))
        finally:
            if events:
                self.event_lag = ev.age(events[0])

    def execution_context(self, execution_id: str, entity_id: str, kind: str = "agent") -> dict[str, Any]:
        """Return {execution, agent or team, skills, environment, approval_rules, session}; failed parts are empty."""
        if names.FEATURE_CONTEXT in self.features:
            return _with_rules(self._object("GET", f"/executions/{execution_id}/context"), "approval_rules")
        return {**self.execution_parts(execution_id), **self.entity_context(kind, entity_id, execution_id)}

    def execution_parts(self, execution_id: str) -> dict[str, Any]:
        """Return {execution, session, approval_rules}: the parts that do not depend on the agent or team."""
        return {
            "execution": self._get_optional(f"/executions/{execution_id}", {}),
            "approval_rules": self.rules(),
            "session": self._get_optional(f"/executions/{execution_id}/session", None),
        }

    def entity_context(self, kind: str, entity_id: str, execution_id: str) -> dict[str, Any]:
        """Return {agent or team, skills, environment, approval_rules} of an entity that works in `execution_id`."""
        return {
            kind: self._required(f"/{kind}s/{quote(entity_id, safe='')}", {}),
            "skills": self._get_or_default(
                f"/skills/associations/{kind}s/{entity_id}/skills/resolved", [], execution_id
            ),
            "environment": self.environment(kind, entity_id, execution_id),
            "approval_rules": self.rules(),
        }

    def session_messages(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the stored messages; none when there is no session. Raise ControlPlaneError for any other failure."""
        try:
            return list(self._object("GET", f"/executions/{execution_id}/session").get("messages") or [])
        except errors.ControlPlaneError as error:
            if error.status != 404:
                raise
            return []

    # -- agents

    def agent(self, agent_id: str) -> dict[str, Any]:
        """Return an agent; an empty object when there is none."""
        return dict(self._get_optional(f"/agents/{quote(agent_id, safe='')}", {}))

    def team(self, team_id: str) -> dict[str, Any]:
        return dict(self._get_optional(f"/teams/{quote(team_id, safe='')}", {}))

    def find(self, kind: str, key: str) -> dict[str, Any]:
        """Find an agent or a team by id or by name, and return it; an empty object when there is none.

        Not every control plane accepts a name in place of an id; then the list of all is searched.
        """
        path = f"/{kind}s"
        found = dict(self._get_optional(f"{path}/{quote(key, safe='')}", {}))
        if found:
            return found
        entities = self._get_optional(path, [])
        namesakes = (one for one in entities if str(one.get("name") or "").lower() == key.lower())
        return dict(next(namesakes, {})) if isinstance(entities, list) else {}

    def start_execution(self, kind: str, entity_id: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        """Start an execution; the same `key` starts it once, where the control plane knows such keys."""
        path = f"/{kind}s/{quote(entity_id, safe='')}/execute"
        answer = self._call("POST", path, body, headers={"Idempotency-Key": key})
        return answer if isinstance(answer, dict) else {}

    def send_message(self, execution_id: str, text: str) -> None:
        self._call("POST", f"/executions/{quote(execution_id, safe='')}/message", {"message": text})

    def find_execution(self, execution_id: str) -> dict[str, Any]:
        """Return an execution's row; an empty object when there is none."""
        return dict(self._get_optional(f"/executions/{quote(execution_id, safe='')}", {}))

    def skill(self, skill_id: str) -> dict[str, Any]:
        return self._object("GET", f"/skills/{quote(skill_id, safe='')}")

    def environment(self, kind: str, entity_id: str, execution_id: str) -> dict[str, Any]:
        """Return variables, servers and prompt of an agent or team. The execution's own variables win.

        For a test, `execution_id` is the test's token, and `kind` one of names.TRIAL_KINDS.
        """
        path = f"/execution-environment/{kind}s/{entity_id}/resolved/full?execution_id={quote(execution_id, safe='')}"
        return dict(self._get_or_default(path, {}, execution_id))

    def secrets(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return secrets for their use now: {values, missing: name -> why}.

        `question`: {worker_id, execution_id, kind, entity_id, names}. The answer must never leave this process.
        """
        return self._object("POST", "/secrets/resolve", question, timeout=READ_TIMEOUT)

    # -- files

    def run_files(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the files of an execution that are stored: {path, size, sha256, refused}."""
        found = self._call("GET", f"/executions/{quote(execution_id, safe='')}/files", timeout=READ_TIMEOUT)
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

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
        return self._object("POST", "/approvals", approval)

    def get_approval(self, approval_id: str) -> dict[str, Any]:
        return self._object("GET", f"/approvals/{approval_id}")

    def approvals_of(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the newest requests for approval of an execution, newest first."""
        found = self._call("GET", f"/approvals?execution_id={quote(execution_id, safe='')}&limit=200")
        return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []

    def rules(self) -> list[Any]:
        """Return the organization's approval rules; none where the control plane has no such route."""
        return list(self._required("/approval-rules", []))

    def authority(self, kind: str, entity_id: str) -> dict[str, Any]:
        """Return what holds now for an agent or team: {rules, skills, stopped}.

        The published control plane has no such route: there it is put together, without `stopped`.
        """
        if names.FEATURE_AUTHORITY in self.features:
            path = f"/authority?kind={kind}&entity={quote(entity_id, safe='')}"
            return _with_rules(self._object("GET", path, timeout=OPTIONAL_TIMEOUT), "rules")
        skills: list[Any] | None = None
        try:
            found = self._call(
                "GET", f"/skills/associations/{kind}s/{entity_id}/skills/resolved", timeout=OPTIONAL_TIMEOUT
            )
            skills = found if isinstance(found, list) else None
        except errors.ControlPlaneError as error:
            if error.outage:
                raise
        return {"rules": self.rules(), "skills": skills}

    def resolve_approvers(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return who may decide on a tool call, by the rules of now: {rule_id?, rule?, approver_emails, …}."""
        return self._object("POST", "/approval-rules/resolve", question)

    def expire_approval(self, approval_id: str) -> None:
        try:
            self._call("POST", f"/approvals/{approval_id}/expire", {})
        except errors.Refused:
            log.info("approval.expire not taken by the control plane approval_id=%s", approval_id)

    # -- writes

    def write(self, write: Write) -> dict[str, Any]:
        """Make a write and return the answer. Raise WriteIgnored for a 2xx that says that nothing was stored."""
        if write.events is not None and names.FEATURE_EVENTS_BATCH not in self.features:
            return self._write_singly(write.path.removesuffix("/batch"), write.events)
        answer = self._object(write.method, write.path, write.body, timeout=_timeout(write))
        if answer.get("success") is False:
            reason = one_line(str(answer.get("error") or "it does not say why"))
            raise errors.WriteIgnored(
                f"{write.method} {self.base_url}{API}{write.path} stored nothing: {reason}", status=500
            )
        return answer

    def _write_singly(self, path: str, events: Sequence[Event]) -> dict[str, Any]:
        """Post events one by one. A later try does not repeat the events that were taken."""
        for event in events:
            key = (path, str(event.get("event_id")))
            if key in self._accepted_events:
                continue
            try:
                self._call("POST", path, event)
            except errors.Refused as error:
                if error.status not in (400, 413, 422):
                    raise
                log.error("events.lost count=1 reason=refused: %s", error)  # the others are not lost with it
            self._accepted_events[key] = None
            while len(self._accepted_events) > EVENTS_REMEMBERED:
                self._accepted_events.popitem(last=False)
        return {}

    def write_groups(self, groups: Sequence[Sequence[Write]]) -> list[Outcome]:
        """Make groups of writes in order, each all or nothing. Return the outcome of each group; raise nothing.

        A group of several writes needs the feature `batch`, several groups need the feature `batch_groups`.
        """
        if len(groups) == 1:
            return [self._write_group(groups[0])]
        outcomes: list[Outcome] = []
        for batch, body in _packed(groups):
            outcomes += self._write_together(batch, body) if len(batch) > 1 else [self._write_group(batch[0])]
        return outcomes

    def directly(self) -> DirectConnections | None:
        return self._wire.directly()

    async def write_directly(
        self, connections: DirectConnections, groups: Sequence[Sequence[Write]]
    ) -> list[Outcome] | None:
        """Do what `write_groups` does, from the event loop; return None where the caller has to use that instead."""
        first = groups[0][0]
        if not is_small([write.body for group in groups for write in group]):
            return None
        method, path = "POST", "/batch"
        if len(groups) > 1:
            body = _groups_body([encoded([write.request() for write in group]) for group in groups])
        elif len(groups[0]) > 1:
            body = encoded({"requests": [write.request() for write in groups[0]]})
        elif first.events is not None and names.FEATURE_EVENTS_BATCH not in self.features:
            return None
        else:
            method, path, body = first.method, first.path, encoded(first.body)
        answer = await connections.call(method, f"{urlsplit(self.base_url).path}{API}{path}", body)
        if not isinstance(answer, dict) or answer.get("success") is False:
            return None
        if len(groups) > 1:
            return [self._outcome(group, one) for group, one in zip(groups, answer["groups"], strict=True)]
        return [_answers(answer) if len(groups[0]) > 1 else [answer]]

    def _write_group(self, group: Sequence[Write]) -> Outcome:
        try:
            if len(group) == 1:
                return [self.write(group[0])]
            answered = self._object("POST", "/batch", {"requests": [write.request() for write in group]})
            return _answers(answered)
        except errors.ControlPlaneError as error:
            return error

    def _write_together(self, groups: Sequence[Sequence[Write]], body: bytes) -> list[Outcome]:
        try:
            results = self._object("POST", "/batch", body)["groups"]
        except errors.ControlPlaneError as error:
            if not error.outage and not isinstance(error, errors.Unauthorized):
                # One group makes the server refuse the whole request: sent one by one, only that group is refused.
                return [self._write_group(group) for group in groups]
            return [errors.copied(error) for _ in groups]
        return [self._outcome(group, one) for group, one in zip(groups, results, strict=True)]

    def _outcome(self, group: Sequence[Write], result: dict[str, Any]) -> Outcome:
        if "answers" in result:
            return _answers(result)
        first = group[0]
        return self._wire.refusal(
            first.method, f"{self.base_url}{API}{first.path}", int(result["status"]), detail_of(result)
        )

    # -- the wire

    def _object(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefix: str = API,
        timeout: tuple[float, float] | None = None,
    ) -> dict[str, Any]:
        answer = self._call(method, path, body, prefix=prefix, timeout=timeout)
        return answer if isinstance(answer, dict) else {}

    def _required(self, path: str, none: dict[str, Any] | list[Any]) -> Any:
        """Get what restricts an execution: its rules, its configuration. Return `none` only for a 404.

        Raise ControlPlaneError for any other failure, and for an answer of another type than `none`: a fault must not
        be taken for "there is no restriction".
        """
        try:
            found = self._call("GET", path, timeout=READ_TIMEOUT)
        except errors.ControlPlaneError as error:
            if error.status == 404:
                return none
            raise
        if not isinstance(found, type(none)):
            kind = type(found).__name__
            raise errors.Unreachable(f"GET {path} is answered with the type {kind}", remedy="It is tried again")
        return found

    def _get_optional(self, path: str, default: Any) -> Any:
        try:
            answer = self._call("GET", path)
        except errors.ControlPlaneError as error:
            if error.outage:  # nobody answered, which does not mean that the object is missing
                raise
            if error.status != 404:
                log.warning("control_plane.missing %s", error)
            return default
        return default if answer is None else answer

    def _get_or_default(self, path: str, default: Any, execution_id: str) -> Any:
        """Get data that an execution can do without (protocol.md#a8). Where only this route fails, return `default`."""
        try:
            answer = self._call("GET", path, timeout=READ_TIMEOUT)
        except errors.ControlPlaneError as error:
            if error.outage and not self.is_there(execution_id, OPTIONAL_TIMEOUT):
                raise
            if error.status != 404:
                log.warning("control_plane.missing %s", error)
            return default
        return default if answer is None else answer

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


def _timeout(write: Write) -> tuple[float, float] | None:
    """Return the time limits of a write in seconds: short ones when the execution can go on without it."""
    if not write.optional:
        return None
    return TURN_TIMEOUT if write.path == "/analytics/turns" else OPTIONAL_TIMEOUT


def _with_rules(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an answer that has a list of rules under `name`; one without says nothing about what is allowed."""
    if not isinstance(told.get(name), list):
        raise errors.Unreachable(f"The control plane's answer has no list {name!r}", remedy="It is tried again")
    return told


def _answers(batch_answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(answer or {}) for answer in batch_answer["answers"]]


def _packed(groups: Sequence[Sequence[Write]]) -> Iterator[tuple[list[Sequence[Write]], bytes]]:
    """Yield neighbouring groups that fit into one request, with the body of that request."""
    batch: list[Sequence[Write]] = []
    bodies: list[bytes] = []
    size = 0
    for group in groups:
        text = encoded([write.request() for write in group])
        if batch and size + len(text) > REQUEST_BYTES:
            yield batch, _groups_body(bodies)
            batch, bodies, size = [], [], 0
        batch.append(group)
        bodies.append(text)
        size += len(text)
    yield batch, _groups_body(bodies)


def _groups_body(bodies: Sequence[bytes]) -> bytes:
    return b'{"groups":[' + b",".join(bodies) + b"]}"
