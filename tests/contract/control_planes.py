"""The two control planes that keep one contract, as the checks use them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from temporalio.client import Client

from tests.support.published_plane import World
from tests.support.published_plane.world import workflow_id

Object = dict[str, Any]
START = "2026-11-28T12:00:00+00:00"
TERMINAL = ("done", "error")
LONG, SHORT = 60.0, 1.5  # seconds of a stream of the double


@dataclass
class PlaneUnderTest:
    """A control plane under check. `world` is the double's own memory; ours has none to look into."""

    name: str
    url: str
    key: str
    queue_id: str
    temporal: str = ""
    world: World | None = None
    http: requests.Session = field(default_factory=requests.Session)
    _agent: str = ""

    def __post_init__(self) -> None:
        self.http.trust_env = False

    @property
    def published(self) -> bool:
        return self.world is not None

    @property
    def patience(self) -> float:
        """Seconds to wait for what has to come: few where a rule is broken, so that it does not come."""
        return 5.0 if self.world is not None and self.world.broken else 60.0

    # -- asking

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        options.setdefault("headers", {"Authorization": f"Bearer {self.key}"})
        return self.http.request(method, f"{self.url}/api/v1{path}", json=body, timeout=30, **options)

    def raw(self, method: str, path: str, text: str) -> requests.Response:
        """A body as text: for what `json=` would not send."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        return self.http.request(method, f"{self.url}/api/v1{path}", data=text.encode(), headers=headers, timeout=30)

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.ask(method, path, body)
        assert answer.status_code == status, (self.name, method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def status(self, method: str, path: str, body: Any = None) -> int:
        return self.ask(method, path, body).status_code

    def refused(self, method: str, path: str, body: Any, status: int = 422) -> None:
        """Check that the request is refused with this status, and that a 422 names the field as FastAPI does."""
        answer = self.ask(method, path, body)
        assert answer.status_code == status, (self.name, method, path, body, answer.status_code, answer.text)
        if status == 422:
            for problem in answer.json()["detail"]:
                assert problem["loc"][0] == "body" and problem["msg"] and problem["type"], problem

    # -- what the checks work on

    def agent(self, **fields: Any) -> str:
        return str(self.call("POST", "/agents", {"name": f"a-{uuid.uuid4()}", **fields}, 201)["id"])

    def team(self, **configuration: Any) -> str:
        body = {"name": f"t-{uuid.uuid4()}", "configuration": configuration}
        return str(self.call("POST", "/teams", body, 201)["id"])

    def any_agent(self) -> str:
        self._agent = self._agent or self.agent()
        return self._agent

    def row(self, status: str = "") -> str:
        """An execution that is a row only: no workflow runs it."""
        execution_id = str(uuid.uuid4())
        self.call("POST", "/executions/job-executions", self.job_body(execution_id), 201)
        if status:
            self.call("PATCH", f"/executions/{execution_id}", {"status": status})
        return execution_id

    def job_body(self, execution_id: str, **fields: Any) -> Object:
        return {
            "execution_id": execution_id,
            "organization_id": "acme",
            "entity_type": "agent",
            "entity_id": self.any_agent(),
            "prompt": "Look.",
            "trigger_type": "manual",
            "trigger_metadata": {},
            **fields,
        }

    def get(self, execution_id: str) -> Object:
        found: Object = self.call("GET", f"/executions/{execution_id}")
        return found

    def run(self, step: Object | None = None, **body: Any) -> str:
        """An execution whose workflow does as the step says (tests/support/scripted_workflows.py)."""
        request = {"prompt": json.dumps(step or {"state": {}}), "worker_queue_id": self.queue_id, **body}
        return str(self.call("POST", f"/agents/{self.any_agent()}/execute", request)["execution_id"])

    def say(self, execution_id: str, step: Object) -> None:
        self.call("POST", f"/executions/{execution_id}/message", {"message": json.dumps(step)}, 202)

    def turn(self, execution_id: str, **fields: Any) -> Object:
        about = {"turn_number": 1, "model": "demo", "started_at": START, "finish_reason": "stop"}
        return {"execution_id": execution_id, **about, **fields}

    def tool_call(self, execution_id: str, **fields: Any) -> Object:
        return {"execution_id": execution_id, "tool_name": "shell", "started_at": START, **fields}

    def details(self, execution_id: str) -> Object:
        """The stored turns and tool calls."""
        found: Object = self.call("GET", f"/analytics/executions/{execution_id}/details")
        return found

    def event(self, execution_id: str, event_type: str, **data: Any) -> None:
        body = {"event_type": event_type, "data": data}
        self.call("POST", f"/executions/{execution_id}/events", body, 202)

    def say_as_worker(self, execution_id: str, *messages: Object) -> None:
        """Send messages as a worker does: the event of each, and then the whole session."""
        for message in messages:
            self.event(execution_id, "message", **message)
        body = {"session_id": execution_id, "messages": list(messages)}
        told = self.call("POST", f"/executions/{execution_id}/session", body, 201)
        assert told["success"], told

    def watch(self, execution_id: str, timeout: float = 20.0) -> Iterator[Object]:
        """One connection to the stream: {event, data} with what a worker sent unwrapped, to its end."""
        deadline = time.monotonic() + timeout
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/api/v1/executions/{execution_id}/stream"
        with requests.Session() as http:
            http.trust_env = False
            with http.get(url, headers=headers, stream=True, timeout=(5, timeout)) as answer:
                assert answer.status_code == 200, answer.text
                kind = ""
                for line in answer.iter_lines(chunk_size=None, decode_unicode=True):
                    assert time.monotonic() < deadline, f"{self.name}: no end of the stream in {timeout} s"
                    name, _, value = line.partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        data = json.loads(value)
                        data = data["data"] if set(data) == {"data", "timestamp"} else data
                        yield {"event": kind, "data": data}
                        if kind in TERMINAL:
                            return

    def short(self) -> None:
        """Let the streams of this check end soon: those that no terminal event ends."""
        if self.world is not None:
            self.world.longest = SHORT

    @contextmanager
    def hasty(self) -> Iterator[None]:
        """Let the double wait less for an answer of a workflow: for a queue that no worker polls."""
        if self.world is None:
            yield
            return
        before, self.world.query_time = self.world.query_time, 0.5
        try:
            yield
        finally:
            self.world.query_time = before

    def seen(self, execution_id: str, until: str = "", timeout: float = 70.0) -> list[Object]:
        """The stream to its end, or to the first event of a type."""
        found = []
        for event in self.watch(execution_id, timeout):
            found.append(event)
            if event["event"] == until:
                break
        return found

    def state(self, execution_id: str) -> Object:
        """Return the state of the workflow, asked by the published name of its query."""

        async def query() -> Object:
            handle = (await Client.connect(self.temporal)).get_workflow_handle(f"agent-execution-{execution_id}")
            found: Object = await handle.query("get_state")
            return found

        return asyncio.run(query())


def kinds(events: list[Object], kind: str) -> list[Object]:
    """The data of the events of a type."""
    return [event["data"] for event in events if event["event"] == kind]


def said(role: str, content: str, message_id: str, at: str = START, **more: Any) -> Object:
    return {"role": role, "content": content, "message_id": message_id, "timestamp": at, **more}


__all__ = ["LONG", "SHORT", "START", "TERMINAL", "Object", "PlaneUnderTest", "kinds", "said", "workflow_id"]
