"""The load: executions without end, the model that they ask, the people who approve.

An execution has a token and a variant in its prompt, and the model's answers follow from those and the step alone. So
a call that is made again gets the same answer, and the endpoint's own record says who asked what, when and how often.
"""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import requests

from scripts.chaos.evidence import Event, Execution, Request
from tests.support.model_endpoint import Answer, ModelEndpoint
from tests.support.model_shapes import Shape
from tests.support.replica_stack import ReplicaStack
from tests.support.stack import Stack

SHELL: Final = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
RULE: Final = {"name": "signatures", "scope_type": "tool", "scope_value": "sign", "priority": 99}
# The tools that each step asks for; one more step answers.
VARIANTS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "shell": (("shell",),),
    "both": (("look", "shell"), ("shell",)),
    "chain": (("shell",), ("look",), ("shell",)),
    "sign": (("look",), ("sign",)),
    "wide": (("shell", "shell", "look"),),
}
AWAY: Final = 503  # what a control plane answers whose database is away
PAUSE: Final = 0.3  # seconds between one execution of a client and the next
PATIENCE: Final = 180.0  # seconds for an execution, the longest backoff of a killed worker included


class Away(Exception):
    """A control plane has refused a start, as its database is away."""


def answer_of(token: str) -> str:
    return f"Done with {token} and glad of it."


def call_of(token: str, step: int, number: int, tool: str) -> str:
    return f"{token}-{step}-{number}-{tool}"


def answers(token: str, variant: str, file: Path) -> list[Answer]:
    """Return the model's answers by step. The shell's runs add a line to `file`."""
    made: list[Answer] = []
    for step, tools in enumerate(VARIANTS[variant]):
        calls = []
        for number, tool in enumerate(tools):
            call = call_of(token, step, number, tool)
            command = f"sh -c 'echo {token} {call} $PPID >> {file}; sleep 0.5'"
            arguments = {"command": command} if tool == "shell" else {"token": token}
            calls.append({"id": call, "name": tool, "arguments": arguments})
        text = f"Step {step} of {token}: let us see what there is."
        made.append({"text": text, "tools": calls, "first_delay": 0.1, "chunk_delay": 0.03})
    return [*made, {"text": answer_of(token), "chunk_delay": 0.04}]


def step_of(body: dict[str, Any]) -> tuple[str, str, int]:
    """(token, variant, step) of a request."""
    messages = body["messages"]
    _, token, variant = next(str(m["content"]) for m in messages if m["role"] == "user").split()
    return token, variant, sum(m["role"] == "assistant" for m in messages)


class Model(ModelEndpoint):
    """Keeps who asked what: the worker is found by the other end of the connection, in the kernel's table."""

    def __init__(self, file: Path, workers: Callable[[], list[int]]) -> None:
        super().__init__()
        self._file, self._workers = file, workers
        self.asked: list[Request] = []
        self._pids: dict[int, int | None] = {}  # port -> pid

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        self._pids[port] = owner(port, self._workers())
        await super()._connected(reader, writer)

    def _choose(self, body: dict[str, Any], raw: str) -> Answer:
        token, variant, step = step_of(body)
        return answers(token, variant, self._file)[step]

    async def _answer(
        self,
        answer: Answer,
        shape: Shape,
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        token, _, step = step_of(body)
        port = writer.get_extra_info("peername")[1]
        request = Request(token, step, self._pids.get(port), time.monotonic())
        self.asked.append(request)
        kept = await super()._answer(answer, shape, body, reader, writer)
        request.done = time.monotonic()
        return kept


def owner(port: int, candidates: list[int]) -> int | None:
    """Return the process that has a connection with this local port. Only on Linux; None elsewhere."""
    inode = ""
    try:
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == port:
                inode = fields[9]
    except OSError:
        return None
    for pid in candidates:
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
        except OSError:
            continue
    return None


class Load:
    """`clients` executions at a time, each watched from its first event to its last."""

    def __init__(self, stack: Stack, agent: str, queue: str, clients: int) -> None:
        self._stack, self._agent, self._queue = stack, agent, queue
        self.executions: list[Execution] = []
        self.faults: list[str] = []  # of the load itself: an execution that did not end
        self._number = 0
        self._lock = threading.Lock()
        self._under_way: dict[str, float] = {}  # token -> since when
        self._on = threading.Event()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._client, name=f"client-{n}", daemon=True) for n in range(clients)]
        self._on.set()
        for thread in self._threads:
            thread.start()

    def under_way(self) -> set[str]:
        with self._lock:
            return set(self._under_way)

    def pause(self) -> None:
        """No new executions; those under way go on."""
        self._on.clear()

    def resume(self) -> None:
        self._on.set()

    def stop(self, timeout: float) -> None:
        self._over.set()
        self._on.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _client(self) -> None:
        client = self_of(self._stack)
        while not self._over.is_set():
            self._on.wait()
            if self._over.is_set():
                break
            run = self._next()
            try:
                self._run(client, run)
            except Away:
                pass  # nobody has taken it
            except requests.RequestException:
                pass  # the control plane is away; whether it has taken the execution is asked in the end
            except Exception as error:
                self.faults.append(f"{run.token} ({run.variant}): {type(error).__name__}: {str(error)[:300]}")
            finally:
                with self._lock:
                    self._under_way.pop(run.token, None)
            self._over.wait(PAUSE)
        client.http.close()

    def _next(self) -> Execution:
        with self._lock:
            self._number += 1
            token, variant = f"t{self._number}", list(VARIANTS)[self._number % len(VARIANTS)]
            run = Execution(token, variant, "", "", "", answer_of(token), began=time.monotonic())
            self._under_way[token] = run.began
            self.executions.append(run)
        return run

    def _run(self, client: Stack, run: Execution) -> None:
        body = {"prompt": f"chaos {run.token} {run.variant}", "worker_queue_id": self._queue}
        answer = client.http.post(f"{client.url}/api/v1/agents/{self._agent}/execute", json=body, timeout=30)
        if answer.status_code == AWAY:
            raise Away
        assert answer.status_code < 400, (answer.status_code, answer.text)
        run.id = str(answer.json()["execution_id"])
        attend(client, run, PATIENCE)

    def settle(self, timeout: float) -> None:
        """Match the runs with the executions that the control plane has, after the load.

        Runs whose acceptance was lost on its way to the client are awaited to their end. Runs that it never accepted
        are dropped.
        """
        client = self_of(self._stack)
        by_token: dict[str, list[dict[str, Any]]] = {}
        skip = 0
        while rows := client.call("GET", f"/executions?limit=200&skip={skip}"):
            skip += len(rows)
            for row in rows:
                by_token.setdefault(str(row["prompt"]).split()[1], []).append(row)
        self.executions = [run for run in self.executions if run.token in by_token]
        for run in self.executions:
            rows = by_token[run.token]
            if len(rows) > 1:
                self.faults.append(f"{run.token} was accepted {len(rows)} times")
            if not run.id:
                run.id = str(rows[0]["id"])
                try:
                    attend(client, run, timeout)
                except (AssertionError, requests.RequestException) as error:
                    self.faults.append(f"{run.token}: {str(error)[:300]}")
            row = client.execution(run.id)
            run.status, run.response = str(row["status"]), str(row.get("response") or "")
            if run.status == "completed":
                run.log = [event_of(raw, 0.0) for raw in client.events(run.id, timeout=30) if raw.get("id")]
                for server in servers(client):
                    run.told.append([str(raw["id"]) for raw in server.events(run.id, timeout=30) if raw.get("id")])
        client.http.close()


def attend(client: Stack, run: Execution, timeout: float) -> None:
    """Watch it to its end, and say yes to what it asks."""
    for raw in client.events(run.id, timeout=timeout):
        if not raw.get("id"):
            continue
        event = event_of(raw, time.monotonic())
        run.live.append(event)
        if event.type == "approval_requested":
            run.approved.setdefault(event.call, time.monotonic())
            approve(client, str(raw["data"]["approval_id"]))
    run.ended = time.monotonic()


def self_of(stack: Stack) -> Stack:
    """The same stack with connections of its own, for another thread."""
    client = copy.copy(stack)
    client.http = requests.Session()
    client.http.trust_env = False
    client.http.headers.update(stack.http.headers)
    return client


def servers(client: Stack) -> list[Stack]:
    """Return a client of each server that stands behind the load balancer."""
    if not isinstance(client, ReplicaStack):
        return []
    found = [copy.copy(client) for _ in client.ports]
    for each, port in zip(found, client.ports, strict=True):
        each.url = f"http://127.0.0.1:{port}"
    return list(found)


def approve(client: Stack, approval: str, patience: float = 90.0) -> None:
    """Approve as a person does: try again while the control plane is away."""
    deadline = time.monotonic() + patience
    while True:
        try:
            answer = client.http.post(f"{client.url}/api/v1/approvals/{approval}/approve", json={}, timeout=10)
            if answer.status_code == AWAY:
                raise requests.ConnectionError(answer.text)
            assert answer.status_code in (200, 409), (answer.status_code, answer.text)
            return
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def event_of(raw: dict[str, Any], at: float) -> Event:
    data = raw.get("data") or {}
    return Event(
        id=str(raw["id"]),
        type=str(raw["event"]),
        message_id=str(data.get("message_id") or ""),
        call=str(data.get("tool_execution_id") or ""),
        outcome=str(data.get("outcome") or ""),
        at=at,
    )
