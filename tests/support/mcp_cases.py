"""Runs the cases of tests/cases/mcp: each is an agent with one odd MCP server, in a real stack, many at the same time.

A case names its servers and the calls that its model makes, step by step; `run` gives back what came of each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import FINAL, Process, Stack, wait_until

FOLDER = Path(__file__).parents[1] / "cases" / "mcp"
MODEL = "mcp/"  # before the case's id: the model of its agent
LONGEST = 75.0  # seconds for one execution
APART = 0.25  # seconds between the starts of two cases: all at once would measure the machine, not the case
AT_ONCE = 8  # cases under way: more servers that start together would pass limits that have nothing to do with them
SLOW = "slow-start"  # in the id of a case whose server takes its time to start, and so has most of its limit behind it
LEFT = 15.0  # seconds after an execution in which its servers have to be gone


@dataclass
class Case:
    """`servers` may hold `{log}` (the case's own file) and `{http}` (the URL of http.py).

    `steps` are the model's answers, one for each request; an answer "done" comes after them. `forget`: the path of
    http.py whose sessions are dropped before the step of this number is answered. `times`: executions one after the
    other. `cancel`: the execution is cancelled when this many tools have answered.
    """

    id: str
    servers: dict[str, Any]
    steps: list[dict[str, Any]]
    variables: dict[str, str] = field(default_factory=dict)
    forget: tuple[str, int] | None = None
    times: int = 1
    cancel: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # of the agent


@dataclass
class Ran:
    """The outcome of a case. Seconds count from the request for its first execution."""

    row: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)  # bodies of what its model was asked
    asked_after: float = 0.0  # seconds until the model was asked first
    ended_after: float = 0.0
    results: list[str] = field(default_factory=list)  # what the model read of each call
    messages: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)  # of nasty.py
    alive: list[int] = field(default_factory=list)  # servers of it that were left LEFT seconds after its end

    @property
    def notices(self) -> str:
        return "\n".join(str(x["data"].get("message")) for x in self.events if x["event"] == "notice")

    @property
    def shown(self) -> str:
        """All that a person or the model gets to see, as JSON."""
        return json.dumps([self.events, self.messages, self.requests, self.row], default=str)

    def outcomes(self) -> list[str]:
        return [x["data"]["status"] for x in self.events if x["event"] == "tool_completed"]

    def offered(self, request: int = 0) -> dict[str, dict[str, Any]]:
        """The tools of a request to the model: name -> schema."""
        tools = self.requests[request].get("tools") or []
        return {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}

    def calls(self) -> list[tuple[str, Any]]:
        """The calls as they reached nasty.py."""
        return [(x["tool"], x["arguments"]) for x in self.log if x["event"] == "call"]

    def __str__(self) -> str:
        tools = [sorted(self.offered(at)) for at in range(len(self.requests))]
        about = {key: self.row.get(key) for key in ("status", "error_message", "execution_metadata")}
        times = f"model asked after {self.asked_after:.1f} s, over after {self.ended_after:.1f} s"
        results = [result[:300] for result in self.results]
        return f"{about}; {times}; offered {tools}; results {results}; notices {self.notices}; alive {self.alive}"


def nasty(*switches: str, **settings: Any) -> dict[str, Any]:
    """The settings of nasty.py with these switches. It is confined, and may change the folder of the logs."""
    args = [str(FOLDER / "nasty.py"), *switches, "log={log}"]
    return {"command": sys.executable, "args": args, "write_paths": ["{logs}"], **settings}


def far(path: str, **settings: Any) -> dict[str, Any]:
    """The settings of http.py on this path."""
    return {"type": "http", "url": "{http}" + path, **settings}


def call(*tools: str | tuple[str, dict[str, Any]], server: str = "nasty") -> dict[str, Any]:
    """A step in which the model calls these tools at the same time."""
    asked = [(tool, {}) if isinstance(tool, str) else tool for tool in tools]
    return {"tools": [{"name": f"mcp__{server}__{name}", "arguments": given} for name, given in asked]}


class Runner:
    """The stack with two workers, the model, and http.py.

    The cases whose servers start slowly have a worker and a queue of their own: others would take its time when it has
    little left. Nearly all that they do is wait, so they do not count among those that run at once.
    """

    def __init__(self, stack: Stack, endpoint: ModelEndpoint, http: Process, url: str, folder: Path) -> None:
        self.stack, self.endpoint, self.http, self.url, self.folder = stack, endpoint, http, url, folder
        self.worker: Process
        self.slow_worker: Process
        self._at: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self._cases: dict[str, Case] = {}
        self._lock = threading.Lock()

    def watch(self, request: dict[str, Any]) -> None:
        """See each request to the model before it is answered."""
        case = self._cases[str(request["body"]["model"]).removeprefix(MODEL)]
        with self._lock:
            asked = self._at.setdefault(case.id, [])
            asked.append((time.monotonic(), request["body"]))
        if case.forget and len(asked) == case.forget[1] + 1:
            requests.post(f"{self.url}{case.forget[0]}/forget", timeout=10).raise_for_status()

    def run(self, cases: Sequence[Case]) -> dict[str, Ran]:
        self._cases = {case.id: case for case in cases}
        steps = {MODEL + case.id: [*case.steps, {"text": "done"}] for case in cases}
        self.endpoint.by_model = {model: list(answers) for model, answers in steps.items()}
        for worker in (self.worker, self.slow_worker):
            worker.expect("worker.loaded")  # until then it has a core for itself
        slow = [case for case in cases if SLOW in case.id]
        running = {}
        with ThreadPoolExecutor(len(slow) + 1) as patient, ThreadPoolExecutor(AT_ONCE) as clients:
            for case in slow:
                running[case.id] = patient.submit(self._run, case, SLOW)
                self._until_asked(case)
            for case in cases:
                if case not in slow:
                    running[case.id] = clients.submit(self._run, case)
                    time.sleep(APART)
            return {name: future.result() for name, future in running.items()}

    def _until_asked(self, case: Case) -> None:
        """Wait until a case's server on this host is asked to start: from here on it does nothing but take its time."""
        if any("command" in server for server in case.servers.values()):
            asked = ("in", "initialize")
            wait_until(
                lambda: any((line["event"], line.get("method")) == asked for line in _lines(self._log(case))),
                60,
                f"the server of {case.id} is asked to start",
            )

    def _log(self, case: Case) -> Path:
        """Return the file of nasty.py in this case."""
        return self.folder / f"{case.id.strip('/').replace('/', '_').replace('=', '-')}.log"

    def _run(self, case: Case, queue: str = "default") -> Ran:
        log = self._log(case)
        servers = json.loads(
            json.dumps(case.servers)
            .replace("{log}", str(log))
            .replace("{logs}", str(self.folder))
            .replace("{http}", self.url)
        )
        environment = {"mcp_servers": servers, "env_vars": case.variables}
        agent = self.stack.agent(
            case.id,
            model_id=MODEL + case.id,
            # Without it a person would be asked before each call after the first.
            **{"configuration": {"taint": "off"}, **case.settings},
        )
        # Some cases have credentials in the open, as other control planes give them; ours refuses these.
        self.stack.store("agents", agent, execution_environment=environment)
        ran, began = Ran(), time.monotonic()
        for _ in range(case.times):
            execution = self.stack.execute("Do the work.", agent=agent, queue=queue, **case.body)
            ran.events = []
            try:
                ran.events.extend(self._events(case, execution))
            except AssertionError:  # its time is up: the row says how far it came
                self.stack.call("POST", f"/executions/{execution}/cancel")
                break
        ran.ended_after = time.monotonic() - began
        ran.row = self.stack.execution(execution)
        asked = self._at.get(case.id) or [(float("inf"), {})]
        ran.asked_after = asked[0][0] - began
        ran.requests = [body for _, body in asked if body]
        answer = self.stack.http.get(f"{self.stack.url}/api/v1/executions/{execution}/session", timeout=30)
        ran.messages = answer.json()["messages"] if answer.ok else []  # an execution that was cancelled may have none
        ran.results = [message["content"] for message in ran.messages if message["role"] == "tool"]
        if ran.row["status"] in FINAL:
            ran.alive = self._left(log)
        ran.log = _lines(log)
        return ran

    def _events(self, case: Case, execution: str) -> Iterator[dict[str, Any]]:
        answered = 0
        for event in self.stack.events(execution, timeout=LONGEST):
            yield event
            waits = event["event"] == "status" and event["data"].get("status") == "waiting_for_input"
            if waits or event["event"] in ("done", "error"):
                return
            answered += event["event"] == "tool_completed"
            if case.cancel and answered == case.cancel:
                self.stack.call("POST", f"/executions/{execution}/cancel")

    def _left(self, log: Path) -> list[int]:
        """The server processes of a case that are left when the time is up."""
        deadline = time.monotonic() + LEFT
        while (alive := _alive(log)) and time.monotonic() < deadline:
            time.sleep(0.25)
        return alive

    def stop(self) -> float:
        """Stop the worker of the cases that are not slow; the seconds that it took."""
        began = time.monotonic()
        self.worker.signal(signal.SIGTERM)
        self.worker.wait(60)
        return time.monotonic() - began


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _alive(log: Path) -> list[int]:
    started = [int(line["server"]) for line in _lines(log) if line["event"] == "start"]
    return [pid for pid in started if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@contextmanager
def running(folder: Path) -> Iterator[Runner]:
    """A stack whose models are the cases'."""
    watching: list[Callable[[dict[str, Any]], None]] = []
    with (
        ModelEndpoint(watch=lambda request: watching[0](request)) as endpoint,
        Stack(folder) as stack,
    ):
        http = stack.start([sys.executable, str(FOLDER / "http.py"), "0", f"log={folder / 'http.log'}"])
        url = http.expect("^http://")
        runner = Runner(stack, endpoint, http, url, stack.traces)
        watching.append(runner.watch)
        stack.queue(SLOW)
        runner.worker, runner.slow_worker = (
            stack.worker(
                queue,
                LITELLM_API_BASE=endpoint.url,
                LITELLM_API_KEY="sk-case-0123456789abcdef",
                MAX_CONCURRENT_ACTIVITIES="100",
            )
            for queue in ("default", SLOW)
        )
        yield runner
        for line in (line for log in folder.glob("*.log") for line in _lines(log)):
            if line["event"] == "start" and _lives(line["server"]):
                os.kill(line["server"], signal.SIGKILL)
