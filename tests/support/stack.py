"""A real stack for tests: Temporal's dev server, the local control plane, workers; each a process of its own.

with Stack(tmp_path) as stack:
    stack.worker()
    execution = stack.execute("demo:script [...]")
    stack.wait(execution)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from kubiya_worker.launch import temporal_server
from kubiya_worker.server.store.address import Place
from tests.support import databases, kept_code
from tests.support import tied as tied_program
from tests.support.event_stream import frames, in_time

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
FINAL = ("completed", "failed", "cancelled", "interrupted")


LANES = 8  # workers of a test run that never look at the same ports
LANE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % LANES
_given: set[int] = {11434}  # where `kubiya dev` looks for an Ollama: a server of a test is none


# How asyncio tells of an exception that no code awaits.
UNHANDLED: Final = re.compile("Exception in callback|exception was never retrieved|Task was destroyed but it is pend")


def free_port() -> int:
    """Return a free port below those of outgoing connections, which could take it before its server does.

    No port is given twice, here or by another worker of the test run: it is free only until its server listens.
    """
    while True:
        port = random.randrange(10_000 + LANE, 30_000, LANES)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


class Process:
    """A child in a session of its own; its output is kept, line by line, and can be waited for."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path, *, tied: bool = False) -> None:
        """`tied`: it ends with this process too, however this one ends."""
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._tie: int | None = None
        with tied_program.command(argv) if tied else contextlib.nullcontext((argv, -1, None)) as (command, end, tie):
            self._tie = tie
            self.popen = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                pass_fds=(end,) if tied else (),
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def expect(self, pattern: str, timeout: float = 120.0) -> str:
        """Wait for the first line that matches, and return it. Fail with the whole output when none comes."""
        deadline = time.monotonic() + timeout
        with self._more:
            while True:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"{pattern!r} did not come:\n" + "\n".join(self.lines))
                self._more.wait(min(left, 0.5))

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def freeze(self) -> None:
        """All its threads stand still when this returns: a signal alone is on its way, and a reply may pass it."""
        self.signal(signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status

    def wait(self, timeout: float = 60.0) -> int:
        code = self.popen.wait(timeout)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(30)
        self._reader.join(5)
        if self.popen.stdout:
            self.popen.stdout.close()
        if self._tie is not None:
            os.close(self._tie)
            self._tie = None


def require_handled(processes: Iterable[Process]) -> None:
    """Fail where a process of ours has logged an exception that nobody handled: no test expects one."""
    lines = [line for process in processes for line in process.lines if UNHANDLED.search(line)]
    assert not lines, "\n".join(lines[:5])


def patched(target: Any, patch: Any) -> Any:
    """Return what a JSON Merge Patch (RFC 7396) makes of a value."""
    if not isinstance(patch, dict):
        return patch
    kept = {key: value for key, value in target.items() if key not in patch} if isinstance(target, dict) else {}
    old = target if isinstance(target, dict) else {}
    return kept | {key: patched(old.get(key), value) for key, value in patch.items() if value is not None}


class Stack:
    patience = 120.0  # seconds for the start of a server

    def __init__(
        self,
        folder: Path,
        *,
        persistent: bool = False,
        ends_polls: bool = False,
        database: Place | None = None,
        temporal: str = "",
    ) -> None:
        """Take where its data is, and how its Temporal treats workers that leave.

        `ends_polls`: Temporal itself ends the polls of a worker that leaves, as a cluster's may. `database`: where the
        control plane's data is, if not where the tests of this run have it. `temporal`: the address of one that it
        shares with other stacks, instead of one of its own.
        """
        self.folder = folder
        self.traces = folder / "traces"
        self.traces.mkdir(exist_ok=True)
        self.ends_polls = ends_polls
        self.persistent = persistent
        self.shares_temporal = bool(temporal)
        self.temporal_port, self.port = int(temporal.rpartition(":")[2] or free_port()), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.temporal_address = f"127.0.0.1:{self.temporal_port}"
        self.key = ""
        self.database = databases.place(folder) if database is None else database
        self.processes: list[Process] = []
        self.temporal: Process | None = None
        self.server: Process | None = None
        self.http = requests.Session()
        self.http.trust_env = False
        self._number = 0

    def __enter__(self) -> Self:
        if not self.shares_temporal:
            self.start_temporal()
        self.start_server()
        self.key = (self.folder / "key").read_text().strip()
        self.http.headers["Authorization"] = f"Bearer {self.key}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()
        for process in reversed(self.processes):
            process.kill()
        if error is not None:
            for process in self.processes:
                print(f"--- {process.popen.args!r}", *process.lines[-60:], sep="\n")
        else:
            require_handled(self.processes)

    def start(self, argv: list[str], env: dict[str, str] | None = None, *, tied: bool = False) -> Process:
        process = Process(argv, env or {}, self.folder, tied=tied)
        self.processes.append(process)
        return process

    def start_temporal(self) -> Process:
        # The product's own arguments: with the dev server's defaults each queue is read at most 20 times a second, and
        # every step takes 50 ms, whatever runs on it.
        database = self.folder / "temporal.db" if self.persistent else None
        program = temporal_server.find_program({"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"})
        argv = temporal_server.arguments(program, port=self.temporal_port, ui_port=None, database=database)
        if self.ends_polls:
            argv += ["--dynamic-config-value", "frontend.enableCancelWorkerPollsOnShutdown=true"]
        self.temporal = self.start(argv, tied=True)
        wait_until(
            lambda: _listens(self.temporal_port) and _serves(self.temporal_address), self.patience, "Temporal serves"
        )
        return self.temporal

    def server_command(self) -> list[str]:
        argv = [sys.executable, "-m", "kubiya_worker.server", "--port", str(self.port), "--seed"]
        return [*argv, *databases.options(self.database, self.folder), "--temporal-address", self.temporal_address]

    def start_server(self) -> Process:
        self.server = self.start(self.server_command(), tied=True)
        self.server.expect("control_plane.listening", self.patience)
        return self.server

    def kill_servers(self) -> None:
        """Kill every control plane there is."""
        assert self.server is not None
        self.server.kill()

    def worker_environment(self, **env: str) -> dict[str, str]:
        self._number += 1
        kept_code.share(self.folder)
        return {
            "KUBIYA_API_KEY": self.key,
            "CONTROL_PLANE_GATEWAY_URL": self.url,
            "KUBIYA_ALIVE_FILE": str(self.folder / f"alive{self._number}"),
            "KUBIYA_READY_FILE": str(self.folder / f"ready{self._number}"),
            "KUBIYA_WORKSPACE": str(self.folder / "workspaces"),
            "HOME": str(self.folder),
            **env,
        }

    def worker(self, queue: str = "default", *, ready: bool = True, kill_at: str = "", **env: str) -> Process:
        """A worker; `kill_at` makes it kill itself (tests/support/self_killing_worker.py)."""
        module = ["-m", "tests.support.self_killing_worker"] if kill_at else ["-m", "kubiya_worker.process.worker"]
        environment = self.worker_environment(**env)
        if kill_at:
            environment["KILL_AT"] = kill_at
        process = self.start([sys.executable, *module, "--queue-id", queue], environment)
        if ready:
            process.expect("worker.ready")
        return process

    @contextlib.contextmanager
    def lent(self) -> Iterator[Self]:
        """Lend the stack to the tests of one module: the workers that they leave running end with it."""
        before = len(self.processes)
        yield self
        kept = (self.temporal, self.server)  # which a test may have replaced
        ended = [each for each in reversed(self.processes[before:]) if each not in kept]
        for process in ended:
            process.kill()
            self.processes.remove(process)
        require_handled(ended)

    # -- what a client does

    def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        answer = self.http.request(method, f"{self.url}/api/v1{path}", json=body, timeout=30)
        if status is not None:
            assert answer.status_code == status, (answer.status_code, answer.text)
        else:
            assert answer.status_code < 400, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def trace(self, name: str) -> Path:
        """Return the path of a new file in which a tool can leave a trace (see `agent`)."""
        return self.traces / f"{name}-{uuid.uuid4().hex[:8]}"

    def agent(self, name: str = "agent", *, skills: list[dict[str, Any]] | None = None, **fields: Any) -> str:
        """Make an agent whose programs may change `traces` beside their workspaces.

        Tools are confined as they are by default, so a test that watches what a program does must look there.
        """
        return self.make_agent(name, [self._tracing(skill) for skill in skills or []], fields)

    def make_agent(self, name: str, skills: list[dict[str, Any]], fields: dict[str, Any]) -> str:
        body = {"name": name, "model_id": "demo", "skills": skills, **fields}
        return str(self.call("POST", "/agents", body)["id"])

    def _tracing(self, skill: dict[str, Any]) -> dict[str, Any]:
        configuration = skill.get("configuration")
        if skill.get("type") not in ("shell", "python") or not configuration or "confinement" in configuration:
            return skill  # in a shell skill without configuration, a key would allow every program
        return {**skill, "configuration": {"write_paths": [str(self.traces)], **configuration}}

    def store(self, kind: str, key: str, **fields: Any) -> None:
        """Write into a stored definition what the API refuses, as a control plane that takes everything would."""
        with databases.opened(self.database) as database:
            (data,) = database.execute(f"select data from {kind} where id = ?", (key,)).fetchone()
            changed = json.dumps(patched(json.loads(data), fields))
            database.execute(f"update {kind} set data = ? where id = ?", (changed, key))

    def queue(self, name: str) -> str:
        return str(self.call("POST", "/environments/default/worker-queues", {"name": name})["id"])

    def execute(self, prompt: str, *, agent: str = "ops", queue: str = "default", **body: Any) -> str:
        request = {"prompt": prompt, "worker_queue_id": queue, **body}
        return str(self.call("POST", f"/agents/{agent}/execute", request)["execution_id"])

    def execution(self, execution_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/executions/{execution_id}")
        return found

    def state(self, execution_id: str) -> dict[str, Any]:
        """Return the state that the workflow reports. A query needs a worker, which may be busy or still starting."""
        found: list[dict[str, Any]] = []

        def told() -> bool:
            state = self.call("GET", f"/executions/{execution_id}/details")["state"]
            found.extend([state] if state else [])
            return bool(found)

        wait_until(told, 60, f"the workflow of {execution_id} tells its state")
        return found[0]

    def wait(self, execution_id: str, *statuses: str, timeout: float = 120.0) -> dict[str, Any]:
        """The execution once it has one of the statuses (default: any final one), by its event stream."""
        wanted = statuses or FINAL
        deadline = time.monotonic() + timeout
        for event in self.events(execution_id, timeout=timeout):
            if event["event"] in ("status", "done") and event["data"].get("status") in wanted:
                return self.execution(execution_id)
            assert time.monotonic() < deadline, f"{self.execution(execution_id)} after {timeout} s"
        return self.execution(execution_id)

    def events(
        self, execution_id: str, *, after: str = "0", timeout: float = 120.0, until: str = "done"
    ) -> Iterator[dict[str, Any]]:
        """Events from the stream, {id, event, data (unwrapped)}, until one of type `until`. Reconnects by itself."""
        deadline = time.monotonic() + timeout
        while True:
            assert time.monotonic() < deadline, f"no {until} within {timeout} s: {self.execution(execution_id)}"
            try:
                with self.http.get(
                    f"{self.url}/api/v1/executions/{execution_id}/stream",
                    headers={"Last-Event-ID": after},
                    stream=True,
                    timeout=(5, 20),
                ) as answer:
                    answer.raise_for_status()
                    lines = answer.iter_lines(chunk_size=None, decode_unicode=True)
                    for event in frames(in_time(deadline, lines, f"no {until} within {timeout} s")):
                        after = event.get("id", after)
                        if set(event["data"]) == {"data", "timestamp"}:
                            event["data"] = event["data"]["data"]
                        yield event
                        if event["event"] == until:
                            return
            except requests.RequestException:
                pass  # the server is being restarted
            time.sleep(0.05)  # an execution that is over ends its stream at once

    def history(self, execution_id: str) -> list[HistoryEvent]:
        """Return the history of an execution as Temporal stores it: a client without a codec reads it."""

        async def fetch() -> list[HistoryEvent]:
            client = await Client.connect(self.temporal_address)
            handle = client.get_workflow_handle(f"agent-execution-{execution_id}")
            return [event async for event in handle.fetch_history_events()]

        return asyncio.run(fetch())

    def raw_history(self, execution_id: str) -> bytes:
        """Return the bytes of the history, in which a test looks for what must not be there."""
        return b"".join(event.SerializeToString() for event in self.history(execution_id))

    def wait_for_turn(self, execution_id: str, turn: int, timeout: float = 120.0) -> None:
        """Wait until the turn with this number was posted and the execution waits for the next message."""
        deadline = time.monotonic() + timeout
        while True:
            turns = self.call("GET", f"/analytics/executions/{execution_id}/details")["turns"]
            row = self.execution(execution_id)  # looked at second: before the turn was posted it was waiting too
            if len(turns) >= turn and row["status"] == "waiting_for_input":
                return
            assert row["status"] not in FINAL and time.monotonic() < deadline, row
            time.sleep(0.02)

    def first(self, execution_id: str, kind: str, timeout: float = 120.0) -> dict[str, Any]:
        """The data of the first event of a type."""
        for event in self.events(execution_id, timeout=timeout, until=kind):
            if event["event"] == kind:
                data: dict[str, Any] = event["data"]
                return data
        raise AssertionError(kind)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


def _serves(address: str) -> bool:
    """Return True when Temporal's frontend answers, which is later than its port opens."""
    with ThreadPoolExecutor(1) as elsewhere:  # here a loop may run already: a browser's, for one
        connecting = elsewhere.submit(lambda: asyncio.run(Client.connect(address)))
    return connecting.exception() is None


def wait_until(condition: Callable[[], Any], timeout: float, what: str) -> None:
    """Wait for a condition that no event announces (a port, a file)."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.02)
