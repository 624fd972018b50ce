"""The local stack: the Temporal dev server, the local control plane and one worker, as one foreground process tree.

All three start at the same time, and each waits for the others that it needs. The stack is ready when the worker says
so (`READY=1`), the control plane answers and Temporal accepts connections. At the end the worker drains first, then the
control plane stops, then Temporal. Each program has a guard (`guarded_program.py`), so none outlives this process.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

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
from kubiya_worker.launch.stack_client import StackClient
from kubiya_worker.launch.stack_folder import StackFolder
from kubiya_worker.launch.stack_plan import (
    CONTROL_PLANE,
    GRACE,
    NAMES,
    TEMPORAL,
    WORKER,
    Command,
    DevServer,
    Facts,
    StackOptions,
    StackPlan,
)

READY_WITHIN: Final = 60.0  # seconds: long enough for a very busy machine
STOP_WITHIN: Final = {WORKER: GRACE + 10, CONTROL_PLANE: 5.0, TEMPORAL: 5.0}  # seconds from SIGTERM to SIGKILL
LOOK_BACK, LOOK_BACK_BYTES = 1000, 65_536  # how much of a program's log the reason for its end is looked for in
HEALTHY_AFTER: Final = 60.0  # seconds: a worker that ran so long starts again without delay
PANIC: Final = 2  # exit code of a Go program that broke down; Temporal does when its start takes too long
TEMPORAL_STARTS: Final = 3  # at most, until it was ready once
PANIC_WORDS: Final = ("panic: ", "fatal error: ")  # the Go runtime's, before a line of them and a stack of hundreds
FINAL_CODES: Final = frozenset({EX_USAGE, EX_NOPERM, EX_CONFIG})  # another try would end the same way
STOPS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class Observer(Protocol):
    """Receives the events of the stack. It is called from the loop, so it must not block."""

    def ready(self, facts: Facts) -> None: ...
    def restarting(self, end: str, delay: float) -> None: ...
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
        self._temporal_starts = 0
        self._ready = False
        self._crashes = 0
        self._restart_at: float | None = None

    def run(self) -> int:
        """Run until a signal stops the stack; return 0 then.

        Raises WorkerError when it ends in another way. In both cases nothing is left running.
        """
        began = time.monotonic()
        with self._state.locked(), WakeupPipe((*STOPS, signal.SIGCHLD)) as signals:
            self._signals = signals
            self._plan = StackPlan.of(self._options, self._state, self._environ)
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

    def _start(self) -> None:
        if self._plan.own is not None:
            self._spawn_temporal(self._plan.own)
        self._spawn(CONTROL_PLANE, self._plan.control_plane())
        if self._options.queue == "default":  # the control plane creates this queue at its start
            self._spawn_worker()

    def _spawn(self, name: str, command: Command) -> None:
        try:
            log = self._state.log(name)
            child = GuardedProgram(name, command.argv, command.environment, log, umask=command.umask)
        except OSError as error:
            raise ConfigurationError(
                f"{NAMES[name]} cannot be started: {error}",
                remedy=f"Check that {command.argv[0]} is there and may be executed",
            ) from error
        self._children[name] = child
        self._read.setdefault(name, child.log_start)

    def _spawn_temporal(self, own: DevServer) -> None:
        self._temporal_starts += 1
        self._spawn(TEMPORAL, self._plan.temporal(own))

    def _spawn_worker(self) -> None:
        self._worker_ready = False
        self._spawn(WORKER, self._plan.worker(self._notify.address))

    def _until_ready(self, began: float) -> bool:
        """Wait until the stack is ready. Return False when it was stopped before."""
        answered = reachable = False
        client = StackClient(self._plan.url, self._plan.key)
        deadline = began + READY_WITHIN
        while True:
            if self._handle_events(0.02):
                return False
            reachable = reachable or temporal_server.reachable(self._plan.temporal_address)
            if not answered and client.answers():
                answered = True
                if WORKER not in self._children:
                    client.ensure_queue(self._options.queue)
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
        self._state.write_env(self._plan.shell_variables())
        self._state.announce(
            {
                "control_plane_url": self._plan.url,
                "temporal_address": self._plan.temporal_address,
                "queue": self._options.queue,
            }
        )
        self._ready = True
        self._observer.ready(self._plan.facts(time.monotonic() - began))
        return True

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
        last = last_words(child.last_lines(LOOK_BACK, LOOK_BACK_BYTES))
        own = self._plan.own
        broke_down = name == TEMPORAL and code == PANIC and not self._ready
        if broke_down and own is not None and self._temporal_starts < TEMPORAL_STARTS:
            self._spawn_temporal(own)
            return
        if name == WORKER and code not in FINAL_CODES:
            self._crashes = 1 if time.monotonic() - child.started > HEALTHY_AFTER else self._crashes + 1
            delay = restart_delay(self._crashes)
            self._restart_at = time.monotonic() + delay
            self._observer.restarting(ending(code, last), delay)
            return
        kept = self._ready and not self._options.ephemeral
        again = "Start kubiya dev again, and open executions go on; see" if kept else "See"
        error = WorkerError(f"{NAMES[name]} {ending(code, last)}", remedy=f"{again} {child.log}")
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


def last_words(lines: Sequence[str]) -> str:
    """Return the line of a program's log that says why it ended: the last one, or that of a Go program's breakdown."""
    broke = next((line for line in reversed(lines) if line.startswith(PANIC_WORDS)), None)
    return broke or (lines[-1] if lines else "it said nothing")


def ending(code: int, last: str) -> str:
    """Return how a program ended, from its exit code (128 + signal) and its last words. Pure.

    Whoever is killed cannot say why: its last words are about something else.
    """
    if code == 128 + signal.SIGKILL:
        return "was killed (SIGKILL: by kill -9, or because the host had no memory left)"
    return f"ended with exit code {code}: {last}"


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
