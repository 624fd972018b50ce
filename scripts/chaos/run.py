"""A chaos run: the system, its load, the faults one after another, and what the laws say of it."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubiya_worker._supervisor.posix import kernel
from kubiya_worker.protocol import names
from scripts.chaos import laws, plan, slow, watch
from scripts.chaos.clock import Clock
from scripts.chaos.evidence import Birth, Evidence, Run
from scripts.chaos.faults import QUEUE, Faults, Missed, SmallDisk
from scripts.chaos.load import PATIENCE, RULE, SHELL, Load, Model
from scripts.chaos.plan import Fault
from scripts.chaos.replicas import ReplicaFaults
from scripts.chaos.watch import Watch
from tests.support import databases
from tests.support.daemon import Daemons
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.replica_stack import ReplicaStack
from tests.support.stack import Stack

CLIENTS: Final = 3
REPLICAS: Final = 2  # control planes of one PostgreSQL server
RECOVERS_WITHIN: Final = 200.0  # seconds
AGREES_WITHIN: Final = 20.0
SLOW: Final = 15.0  # seconds of a recovery that is looked into
IDLE_EVERY: Final = 20  # faults: how often all is let come to rest, and no tool may run
WARM_UP: Final = 5  # executions before the first fault: what one takes when nobody disturbs it
# What may be in a worker's folder when it is stopped.
STAYS: Final = (
    *(".venv.lock", "logs", "requirements.txt", "state.json", "status.json", "venv", "worker.py"),
    *("workspaces", "instances", "__pycache__", "spool"),
)
START: Final = ("--max-log-size", "262144", "--max-log-backups", "1000", "--wait-timeout", "150")

Say = Callable[[str], None]


@dataclass
class Outcome:
    fault: Fault
    recovery: float = 0.0  # seconds from its end until the executions under way had ended, and the files agreed
    notes: list[str] = field(default_factory=list)
    missed: bool = False


@dataclass
class Report:
    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    verdicts: list[laws.Verdict] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    executions: int = 0
    undisturbed: float = 0.0  # seconds of an execution before the first fault, median
    seconds: float = 0.0
    replicas: int = 1

    @property
    def broken(self) -> bool:
        return any(verdict.breaches for verdict in self.verdicts)


class Chaos:
    def __init__(self, folder: Path, seed: int, say: Say, ending: threading.Event, replicas: int = 1) -> None:
        self._folder, self._say = folder, say
        self._postgres: PostgresServer | None = None
        self._evidence_folder = folder / "traces"  # `Stack.agent` lets programs of tools change it
        self._evidence_folder.mkdir(mode=0o700)
        self.seen, self.report = Evidence(), Report(seed, replicas=replicas)
        self._ending = ending

    def go(self, faults: int) -> Report:
        began = time.monotonic()
        kernel.become_subreaper()
        shared = self.report.replicas > 1
        kinds = [*plan.KINDS, *(plan.SHARED if shared else ())]
        with ExitStack() as opened:
            # Before the clock: PostgreSQL is another machine, with a time of its own.
            self._start_postgres(opened)
            self._run(faults, kinds)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _run(self, faults: int, kinds: list[str]) -> None:
        clock = self._clock(kinds)
        with (
            self._stack() as stack,
            Daemons(stack, self._folder) as daemons,
            self._small_disk(daemons.workers / QUEUE, kinds),
            Model(self._runs_file(), self._workers) as model,
        ):
            self._conduct(stack, daemons, model, clock, plan.make(faults, self.report.seed, tuple(kinds)))

    # -- what has to be there

    def _start_postgres(self, opened: ExitStack) -> None:
        """Start the PostgreSQL server of the control planes, if they have one: `_known` has to know it."""
        if self.report.replicas > 1:
            self._postgres = opened.enter_context(postgres_server())
        elif databases.POSTGRESQL:
            self._postgres = databases.server()  # of all stacks of this process

    def _stack(self) -> Stack:
        if self.report.replicas > 1:
            assert self._postgres is not None
            return ReplicaStack(self._folder, self._postgres, persistent=True, checked=True)
        return Stack(self._folder, persistent=True)

    def _known(self, stack: Stack) -> set[int]:
        """Return the processes that are the run's own, and whose children are."""
        return {process.pid for process in stack.processes} | ({self._postgres.pid} if self._postgres else set())

    def _clock(self, kinds: list[str]) -> Clock | None:
        try:
            clock = Clock(self._folder)
        except RuntimeError as error:
            self._skip(kinds, "step-clock", str(error))
            return None
        clock.install()
        return clock

    @contextmanager
    def _small_disk(self, folder: Path, kinds: list[str]) -> Iterator[None]:
        try:
            disk = SmallDisk(folder)
        except RuntimeError as error:
            self._skip(kinds, "full-disk", str(error))
            yield
            return
        try:
            yield
        finally:
            shutil.copytree(folder / "logs", self._folder / "logs", dirs_exist_ok=True)
            disk.close()

    def _skip(self, kinds: list[str], word: str, why: str) -> None:
        kinds[:] = [kind for kind in kinds if not kind.startswith(word)]
        self.report.skipped.append(f"{word}: {why}")
        self._say(f"left out: {word}: {why}")

    # -- the run

    def _conduct(self, stack: Stack, daemons: Daemons, model: Model, clock: Clock | None, planned: list[Fault]) -> None:
        env = {
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "sk-test",
            "KUBIYA_EXTENSIONS": str(Path(__file__).with_name("witness.py")),
            "CHAOS_EVIDENCE": str(self._evidence_folder),
        }
        faults = Faults(stack, daemons, self.seen, clock, START, env)
        if isinstance(stack, ReplicaStack) and self._postgres is not None:
            faults.add(ReplicaFaults(stack, self._postgres).do)
        folder = daemons.workers / QUEUE
        self._watch = faults.watch = Watch(folder)
        stack.call("POST", "/approval-rules", RULE)
        agent = stack.agent("chaos", skills=[SHELL], model_id="gpt-test")
        faults.start_daemon()
        self._watch.start()
        load = Load(stack, agent, QUEUE, CLIENTS)
        try:
            self._warm_up(load)
            for fault in planned:
                if self._ending.is_set():
                    self._say("ended early, as asked; what was seen until now is judged")
                    break
                self._one(fault, faults, load, stack, folder)
                if fault.number % IDLE_EVERY == 0:
                    self._rest(load, stack, faults, folder, f"after fault {fault.number}")
            load.pause()
            self._rest(load, stack, faults, folder, "at the end")
        except (AssertionError, KeyError, TypeError, OSError, subprocess.SubprocessError) as error:
            # Such as a daemon that does not start any more. What was seen until then is judged all the same.
            text = f"the run ended early: {type(error).__name__}: {error}"
            self._say(text)
            load.faults.append(text)
        finally:
            load.stop(PATIENCE)
        load.settle(60)
        self._end(stack, daemons, folder)
        self._gather(model, load, folder)

    def _warm_up(self, load: Load) -> None:
        deadline = time.monotonic() + 120
        while not (ended := [run for run in load.executions if run.ended]) or len(ended) < WARM_UP:
            assert time.monotonic() < deadline, f"the load does not run: {load.faults or load.executions}"
            time.sleep(0.1)
        times = sorted(run.ended - run.began for run in ended)
        self.report.undisturbed = times[len(times) // 2]
        self._say(f"undisturbed, an execution takes {self.report.undisturbed:.1f} s")

    def _one(self, fault: Fault, faults: Faults, load: Load, stack: Stack, folder: Path) -> None:
        time.sleep(fault.pause)
        outcome = Outcome(fault)
        self.report.outcomes.append(outcome)
        backoffs, broken = len(self._watch.backoffs), len(load.faults)
        try:
            faults.do(fault)
        except Missed as missed:
            outcome.missed = True
            outcome.notes.append(f"missed: {missed}")
        lifted = time.monotonic()
        waiting = load.under_way()
        while waiting & load.under_way() and time.monotonic() - lifted < RECOVERS_WITHIN:
            time.sleep(0.02)
        ended = time.monotonic()
        problem = watch.within(AGREES_WITHIN, lambda: watch.disagreement(folder), time.sleep)
        outcome.recovery = max(ended, time.monotonic() if ended - lifted < 0.1 else ended) - lifted
        self._note_files(f"fault {fault.number} ({fault.kind})", problem)
        self._note_left(f"fault {fault.number} ({fault.kind})", stack, faults, idle=False)
        if len(self._watch.backoffs) > backoffs:
            outcome.notes.append("backoff " + ", ".join(f"{each:.1f} s" for each in self._watch.backoffs[backoffs:]))
        outcome.notes += load.faults[broken:]
        if outcome.recovery > SLOW:
            last = max((run for run in load.executions if run.token in waiting), key=lambda run: run.ended or ended)
            workflow = names.workflow_id("agent", last.id)
            outcome.notes += [f"{last.token}: {why}" for why in slow.reasons(stack.temporal_address, workflow)]
        self._say(line_of(outcome))

    def _rest(self, load: Load, stack: Stack, faults: Faults, folder: Path, when: str) -> None:
        load.pause()
        deadline = time.monotonic() + RECOVERS_WITHIN
        while load.under_way() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._note_files(when, watch.within(AGREES_WITHIN, lambda: watch.disagreement(folder), time.sleep))
        self._note_left(when, stack, faults, idle=True)
        load.resume()

    def _note_files(self, when: str, problem: str) -> None:
        tried, found = self.seen.files
        self.seen.files = (tried + 1, [*found, f"{when}: {problem}"] if problem else found)

    def _note_left(self, when: str, stack: Stack, faults: Faults, *, idle: bool) -> None:
        known = self._known(stack)
        worker, supervisor = faults.worker(), faults.supervisor()

        def strangers() -> list[str]:
            watch.reap(known)
            return watch.strangers(known, supervisor, worker, idle=idle)

        left = watch.within(10, strangers, time.sleep)
        tried, found = self.seen.left
        self.seen.left = (tried + 1, [*found, *(f"{when}: {each}" for each in left)])

    def _end(self, stack: Stack, daemons: Daemons, folder: Path) -> None:
        """Stop it as a person does; nothing may be left."""
        stopped = daemons.run("worker", "stop", "--queue-id", QUEUE, check=False)
        self._note_files("the stop", stopped.stderr if stopped.returncode else "")
        self._watch.stop()
        known = self._known(stack)
        watch.reap(known)
        left = watch.within(10, lambda: watch.strangers(known, 0, 0, idle=True), time.sleep)
        left += sorted(path.name for path in folder.iterdir() if path.name not in STAYS)
        undelivered = [path for path in (folder / "spool").rglob("*") if path.is_file()]
        left += [str(path.relative_to(folder)) for path in undelivered]
        state = watch.read_json(folder / "state.json")
        self._note_files(
            "after the stop", "" if state.get("state") == "stopped" else f"state.json: {state.get('state')}"
        )
        tried, found = self.seen.left
        self.seen.left = (tried + 1, [*found, *(f"after the stop: {each}" for each in left)])

    # -- evidence

    def _runs_file(self) -> Path:
        return self._evidence_folder / "shell.log"

    def _workers(self) -> list[int]:
        """The last two workers: of any others no connection is left."""
        return [each["pid"] for each in self._lines("births.jsonl")[-2:]]

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self._evidence_folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _gather(self, model: Model, load: Load, folder: Path) -> None:
        seen = self.seen
        seen.executions, seen.requests = load.executions, model.asked
        seen.births = [Birth(each["pid"], each["at"]) for each in self._lines("births.jsonl")]
        seen.runs = [
            Run(each["token"], each["call"], each["tool"], each["pid"], each["at"])
            for each in self._lines("runs.jsonl")
        ]
        for line in self._runs_file().read_text().splitlines():
            token, call, pid = line.split()
            seen.runs.append(Run(token, call, "shell", int(pid), 0.0))
        seen.log = watch.read_log(watch.log_files(folder / "logs"))
        seen.log.torn += [f"at some time: {line}" for line in self._watch.log.torn]
        seen.log.looked += self._watch.log.looked
        for path in self._evidence_folder.glob("written-*"):
            seen.log.written[int(path.name.removeprefix("written-"))] = struct.unpack("<q", path.read_bytes())[0]
        tried, found = seen.files
        seen.files = (tried + self._watch.looks, [*found, *self._watch.problems])
        self.report.executions = len(seen.executions)
        self.report.verdicts = laws.judge(seen)
        self.report.verdicts[0].breaches += load.faults


def line_of(outcome: Outcome) -> str:
    notes = f"   ({'; '.join(outcome.notes)})" if outcome.notes else ""
    return f"{outcome.fault.number:4}  {outcome.fault!s:38} recovered in {outcome.recovery:5.1f} s{notes}"


def run(
    faults: int, seed: int, say: Say, ending: threading.Event, keep: Path | None = None, replicas: int = 1
) -> Report:
    """One run of the faults.

    `ending`, once set, ends it after the fault that is under way. `keep` is a folder that does not exist yet, for what
    the run leaves; without it nothing is kept.
    """
    if keep is not None:
        keep.mkdir(mode=0o700, parents=True)
        return Chaos(keep, seed, say, ending, replicas).go(faults)
    with tempfile.TemporaryDirectory(prefix="kubiya-chaos-") as folder:
        return Chaos(Path(folder), seed, say, ending, replicas).go(faults)
