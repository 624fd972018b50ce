"""The local stack: the Temporal dev server, the local control plane and one worker, as one foreground process tree.

All three start at the same time, and each waits for the others that it needs. The stack is ready when the worker says
so (`READY=1`), the control plane answers and Temporal accepts connections. At the end the worker drains first, then the
control plane stops, then Temporal. Each program has a guard (`guarded_program.py`), so none outlives this process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from kubiya_worker import loopback
from kubiya_worker._supervisor.posix.notify import NotifyReceiver
from kubiya_worker._supervisor.posix.wakeup import WakeupPipe
from kubiya_worker.errors import (
    EX_CONFIG,
    EX_NOPERM,
    EX_OK,
    EX_USAGE,
    ConfigurationError,
    TemporaryFailure,
    Unavailable,
    WorkerError,
)
from kubiya_worker.launch import temporal_server
from kubiya_worker.launch.guarded_program import GuardedProgram
from kubiya_worker.launch.local import check_server_installed, payload_variables, worker_argv
from kubiya_worker.launch.ports import HOST, claim
from kubiya_worker.launch.stack_folder import StackFolder
from kubiya_worker.payloads.options import KEYS_VARIABLE, STORAGE_VARIABLE

TEMPORAL, CONTROL_PLANE, WORKER = "temporal", "control-plane", "worker"
NAMES: Final = {TEMPORAL: "Temporal", CONTROL_PLANE: "The control plane", WORKER: "The worker"}
READY_WITHIN: Final = 60.0  # seconds: long enough for a very busy machine
GRACE: Final = 10.0  # seconds that running steps have at Ctrl-C; the next start continues the rest
STOP_WITHIN: Final = {WORKER: GRACE + 10, CONTROL_PLANE: 5.0, TEMPORAL: 5.0}  # seconds from SIGTERM to SIGKILL
HEALTHY_AFTER: Final = 60.0  # seconds: a worker that ran so long starts again without delay
FINAL_CODES: Final = frozenset({EX_USAGE, EX_NOPERM, EX_CONFIG})  # another try would end the same way
STOPS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
# These variables of the caller would send the worker to another place, or its messages to the caller's supervisor.
WITHHELD: Final = frozenset(
    {"CONTROL_PLANE_URL", "CONTROL_PLANE_GATEWAY_URL", "KUBIYA_API_KEY", "KUBIYA_API_KEY_FILE", "QUEUE_ID"}
    | {"TEMPORAL_HOST", "TEMPORAL_NAMESPACE", "TEMPORAL_TASK_QUEUE", "WATCHDOG_USEC", "WATCHDOG_PID", "NOTIFY_SOCKET"}
    | {"TEMPORAL_TLS", "TEMPORAL_TLS_CERT", "TEMPORAL_TLS_KEY", "TEMPORAL_TLS_CA"}
)


@dataclass(frozen=True)
class StackOptions:
    """Options of the stack. Ports are TCP ports of 127.0.0.1; 0 means any free one."""

    state_dir: Path
    port: int = 7777
    temporal_port: int = 7233
    ui_port: int | None = 8233
    temporal_address: str | None = None
    namespace: str = "default"
    ephemeral: bool = False
    queue: str = "default"
    model: str | None = None
    follow: bool = False  # hand every line of the children's logs to the observer


@dataclass(frozen=True)
class Facts:
    """Facts about a running stack that a person needs."""

    control_plane_url: str
    temporal_address: str
    temporal_ui_url: str | None
    encrypted: bool  # the payloads in Temporal are encrypted
    queue: str
    api_key: str = field(repr=False)
    env_file: Path
    logs: Path
    pid: int
    seconds: float


class Observer(Protocol):
    """Receives the events of the stack. It is called from the loop, so it must not block."""

    def ready(self, facts: Facts) -> None: ...
    def restarting(self, code: int, delay: float, last: str) -> None: ...
    def stopping(self, name: str) -> None: ...
    def line(self, name: str, text: str) -> None: ...


class Forced(Exception):
    """A second signal arrived: the programs are killed without waiting."""


class Stack:
    def __init__(self, options: StackOptions, observer: Observer, environ: Mapping[str, str] | None = None) -> None:
        self._options = options
        self._observer = observer
        self._environ = dict(os.environ if environ is None else environ)
        self._state = StackFolder(options.state_dir)
        self._children: dict[str, GuardedProgram] = {}
        self._read: dict[str, int] = {}  # bytes of each log that the observer has
        self._worker_ready = False
        self._crashes = 0
        self._restart_at: float | None = None

    def run(self) -> int:
        """Run until a signal stops the stack; return 0 then.

        Raises WorkerError when it ends in another way. In both cases nothing is left running.
        """
        began = time.monotonic()
        with self._state.locked(), WakeupPipe((*STOPS, signal.SIGCHLD)) as signals:
            self._signals = signals
            self._prepare()
            self._notify = NotifyReceiver(str(self._state.run))
            try:
                self._start()
                if self._until_ready(began):
                    self._serve()
                self._stop()
            except Forced:
                pass  # everything is killed below
            finally:
                self._kill()
                self._follow()
                self._notify.close()
                if self._options.ephemeral:
                    self._state.forget_databases()
        return EX_OK

    # -- starting

    def _prepare(self) -> None:
        options, state = self._options, self._state
        check_server_installed()
        self._payloads = payload_variables(self._environ)
        self._encrypted = bool(self._payloads.get(KEYS_VARIABLE))
        self._databases = state.databases(ephemeral=options.ephemeral)
        temporal_server.check_database(self._databases / "control-plane.db")
        if not options.temporal_address:
            temporal_server.check_database(self._databases / "temporal.db", temporal_server.TABLE)
        self._port = claim(options.port, "the control plane", "--port")
        self._ui_port: int | None = None
        if options.temporal_address:
            self._temporal = options.temporal_address
            if not temporal_server.reachable(self._temporal, timeout=3.0):
                raise Unavailable(
                    f"Nothing answers at --temporal-address {self._temporal}", remedy="Is Temporal running?"
                )
        else:
            self._program = temporal_server.find_program(self._environ)
            self._temporal_port = claim(options.temporal_port, "Temporal", "--temporal-port")
            self._temporal = f"{HOST}:{self._temporal_port}"
            if options.ui_port is not None:
                self._ui_port = claim(options.ui_port, "Temporal's web page", "--ui-port")
        self._key = state.key()
        self._url = f"http://{HOST}:{self._port}"

    def _start(self) -> None:
        if not self._options.temporal_address:
            database = None if self._options.ephemeral else self._databases / "temporal.db"
            argv = temporal_server.arguments(
                self._program,
                port=self._temporal_port,
                ui_port=self._ui_port,
                database=database,
                namespace=self._options.namespace,
                encrypted=self._encrypted,
            )
            plain = {k: v for k, v in self._environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG", "TZ")}
            self._spawn(TEMPORAL, argv, plain, umask=0o077)  # other users must not read its database
        argv = [sys.executable, "-P", "-m", "kubiya_worker.server", "--host", HOST, "--port", str(self._port)]
        argv += ["--database", str(self._databases / "control-plane.db"), "--key-file", str(self._state.key_file)]
        argv += ["--log-file", str(self._state.logs / f"{CONTROL_PLANE}.log")]
        argv += ["--temporal-address", self._temporal, "--temporal-namespace", self._options.namespace, "--seed"]
        argv += ["--model", self._options.model] if self._options.model else []
        env = {k: v for k, v in self._environ.items() if k not in WITHHELD} | self._payloads
        self._spawn(CONTROL_PLANE, argv, env, umask=0o077)
        if self._options.queue == "default":  # the control plane creates this queue at its start
            self._spawn_worker()

    def _spawn(self, name: str, argv: list[str], env: Mapping[str, str], umask: int = -1) -> None:
        try:
            child = GuardedProgram(name, argv, env, self._state.log(name), umask=umask)
        except OSError as error:
            raise ConfigurationError(
                f"{NAMES[name]} cannot be started: {error}", remedy=f"Check that {argv[0]} is there and may be executed"
            ) from error
        self._children[name] = child
        self._read.setdefault(name, child.log_start)

    def _spawn_worker(self) -> None:
        self._worker_ready = False
        self._spawn(WORKER, worker_argv(self._options.queue), self._worker_environment())

    def _worker_environment(self) -> dict[str, str]:
        run = self._state.run
        env = {k: v for k, v in self._environ.items() if k not in WITHHELD}
        defaults = {
            "KUBIYA_GRACE_PERIOD": f"{GRACE:g}",
            "KUBIYA_ALIVE_FILE": str(run / "worker-alive"),
            "KUBIYA_READY_FILE": str(run / "worker-ready"),
            "KUBIYA_WORKSPACE": str(self._state.folder / "workspaces"),
            "KUBIYA_SPOOL": str(self._state.folder / "spool"),
        }
        fixed = {
            "QUEUE_ID": self._options.queue,
            "KUBIYA_API_KEY": self._key,
            "CONTROL_PLANE_URL": self._url,
            "NOTIFY_SOCKET": self._notify.address,
            "TEMPORAL_TLS": "false",  # the control plane connects without TLS, too, also with --temporal-address
            "NO_PROXY": ",".join(filter(None, (env.get("NO_PROXY") or env.get("no_proxy"), HOST))),
        }
        if self._options.model:
            fixed["KUBIYA_MODEL_OVERRIDE"] = self._options.model
        env.pop("no_proxy", None)
        return {**defaults, **env, **self._payloads, **fixed}

    def _until_ready(self, began: float) -> bool:
        """Wait until the stack is ready. Return False when it was stopped before."""
        answered = reachable = False
        deadline = began + READY_WITHIN
        while True:
            if self._handle_events(0.02):
                return False
            reachable = reachable or temporal_server.reachable(self._temporal)
            if not answered and self._control_plane_answers():
                answered = True
                if WORKER not in self._children:
                    self._ensure_queue()
                    self._spawn_worker()
            if answered and reachable and self._worker_ready:
                break
            if time.monotonic() > deadline:
                missing = CONTROL_PLANE if not answered else TEMPORAL if not reachable else WORKER
                child = self._children.get(missing)
                last = (child.last_lines(1) if child else []) or ["it has said nothing"]
                raise TemporaryFailure(
                    f"{NAMES[missing]} was not ready within {READY_WITHIN:g} s: {last[0]}",
                    remedy=f"See {self._state.log(missing)}",
                )
        facts = Facts(
            control_plane_url=self._url,
            temporal_address=self._temporal,
            temporal_ui_url=f"http://{HOST}:{self._ui_port}" if self._ui_port else None,
            encrypted=self._encrypted,
            queue=self._options.queue,
            api_key=self._key,
            env_file=self._state.env_file,
            logs=self._state.logs,
            pid=os.getpid(),
            seconds=time.monotonic() - began,
        )
        self._state.write_env(
            {
                "KUBIYA_API_KEY": self._key,
                "CONTROL_PLANE_URL": self._url,
                "CONTROL_PLANE_GATEWAY_URL": self._url,  # a value of the shell would override the line above
                "TEMPORAL_ADDRESS": self._temporal,
                # No QUEUE_ID: with it, `worker status` and `worker top` would show this queue's worker and no other.
                # Another worker, or a codec server, must be able to read the same payloads.
                **{name: self._payloads[name] for name in (KEYS_VARIABLE, STORAGE_VARIABLE) if name in self._payloads},
            }
        )
        self._state.announce(
            {"control_plane_url": self._url, "temporal_address": self._temporal, "queue": self._options.queue}
        )
        self._observer.ready(facts)
        return True

    def _request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request to the control plane. Return status and JSON; (0, None) without an answer."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            text = None if body is None else json.dumps(body)
            status, reply = loopback.request(method, f"{self._url}{path}", timeout=5, body=text, headers=headers)
            return status, json.loads(reply or b"null")
        except (OSError, ValueError):
            return 0, None

    def _control_plane_answers(self) -> bool:
        return self._request("GET", "/health")[0] == 200

    def _ensure_queue(self) -> None:
        """Make sure that the queue exists. A name is created; an unknown id raises ConfigurationError."""
        queue = self._options.queue
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

    # -- running

    def _handle_events(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the next event and handle it. Return True when a signal asked to stop."""
        select.select([self._signals.fileno(), self._notify.fileno()], [], [], timeout)
        for _, variables in self._notify.messages():
            self._worker_ready |= variables.get("READY") == "1"
        self._follow()
        if STOPS.intersection(self._signals.arrived()):
            return True
        for name, child in list(self._children.items()):
            code = child.code()
            if code is not None:
                child.close()
                del self._children[name]
                self._handle_end(name, child, code)
        if self._restart_at is not None and time.monotonic() >= self._restart_at:
            self._restart_at = None
            self._spawn_worker()
        return False

    def _serve(self) -> None:
        while not self._handle_events(0.1 if self._options.follow or self._restart_at is not None else 1.0):
            pass

    def _handle_end(self, name: str, child: GuardedProgram, code: int) -> None:
        last = (child.last_lines(1) or ["it said nothing"])[0]
        if name == WORKER and code not in FINAL_CODES:
            self._crashes = 1 if time.monotonic() - child.started > HEALTHY_AFTER else self._crashes + 1
            delay = restart_delay(self._crashes)
            self._restart_at = time.monotonic() + delay
            self._observer.restarting(code, delay, last)
            return
        error = WorkerError(f"{NAMES[name]} ended with exit code {code}: {last}", remedy=f"See {child.log}")
        error.exit_code = code if code in FINAL_CODES else Unavailable.exit_code
        raise error

    def _follow(self) -> None:
        """Pass on the complete lines that were added to the logs."""
        if not self._options.follow:
            return
        for name, start in self._read.items():
            lines, self._read[name] = added_lines(self._state.logs / f"{name}.log", start)
            for text in lines:
                self._observer.line(name, text)

    # -- stopping

    def _stop(self) -> None:
        """Stop the children in order, each within its time. Raises Forced when another signal comes."""
        for name in (WORKER, CONTROL_PLANE, TEMPORAL):
            child = self._children.get(name)
            if child is None:
                continue
            self._observer.stopping(name)
            child.terminate()
            deadline = time.monotonic() + STOP_WITHIN[name]
            while child.code() is None and time.monotonic() < deadline:
                select.select([self._signals.fileno()], [], [], min(0.2, max(0.0, deadline - time.monotonic())))
                self._follow()
                if STOPS.intersection(self._signals.arrived()):
                    raise Forced

    def _kill(self) -> None:
        for child in self._children.values():
            child.kill()
        for child in self._children.values():
            child.wait(5.0)
            child.close()  # closing the guard's pipe ends a child that could not be killed
        self._children.clear()


def added_lines(path: Path, start: int) -> tuple[list[str], int]:
    """Return the complete lines that a log has behind its first `start` bytes, and where to read on."""
    data = b""
    try:
        if path.stat().st_size < start:  # it was rotated: the rest of the old file comes first
            with path.with_name(f"{path.name}.1").open("rb") as file:
                file.seek(start)
                data, start = file.read(), 0
        with path.open("rb") as file:
            file.seek(start)
            added = file.read(1_000_000)
    except OSError:
        return [], start
    complete = added[: added.rfind(b"\n") + 1]
    return (data + complete).decode(errors="replace").splitlines(), start + len(complete)


def restart_delay(crashes: int) -> float:
    """Return the seconds before the n-th start in a row after crashes: 1, 2, 4 … 30."""
    return min(30.0, 2.0 ** min(crashes - 1, 10))
