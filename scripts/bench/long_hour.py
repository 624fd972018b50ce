"""A command of an hour under an agent, while everything around it is killed again and again.

A real stack (Temporal with the product's own settings and a database on the disk, the control plane, a supervisor with
its worker, a scripted model) runs one execution: `shell_start` of a command that writes a line each minute and exits
with 7, then `shell_wait` until the outcome is told. Meanwhile worker, supervisor, control plane and Temporal get
SIGKILL. What must hold: the outcome is known, the command was started once, each of its lines is there.

What it costs is told beside: model calls, tokens, events of history, and the slots of workers that it holds, for which
Temporal is asked every few seconds for the activities that are under way. `--seconds` shortens it, `--wait 60` makes
many short waits of the one long wait; `--log FILE` gets a JSON line for each thing that happened, at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import requests
from temporalio.client import Client
from temporalio.service import RPCError

from tests.support.daemon import Daemons
from tests.support.model_endpoint import ModelEndpoint
from tests.support.processes import runs
from tests.support.stack import Stack, wait_until

HOUR: Final = 3600.0
STATUS: Final = 7  # with which the command exits
KEPT: Final = {"KUBIYA_KEEP_LONG_COMMANDS": "true"}
LOOK_EVERY: Final = 5.0  # seconds between two looks at the slots that are held
PATIENCE: Final = 180.0  # seconds for a start, and for the end after the command's own
STRIKES: Final = (  # when, as parts of the time; what is killed
    (0.05, "worker"),
    (0.12, "worker"),
    (0.20, "supervisor"),
    (0.28, "control plane"),
    (0.36, "worker"),
    (0.45, "supervisor and worker"),
    (0.55, "Temporal"),
    (0.65, "worker"),
    (0.75, "control plane"),
    (0.85, "supervisor"),
    (0.97, "worker"),
)


@dataclass
class Hour:
    """The run: its programs, and what happened."""

    stack: Stack
    daemons: Daemons
    model: ModelEndpoint
    log: Path | None
    began: float = field(default_factory=time.monotonic)
    looks: list[int] = field(default_factory=list)  # activities under way, at each look at Temporal

    def note(self, what: str, **more: Any) -> None:
        line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "s": round(time.monotonic() - self.began, 1)}
        text = json.dumps(line | {"what": what} | more)
        print(text, flush=True)
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    def start(self) -> None:
        self.daemons.start(**KEPT, OPENAI_BASE_URL=self.model.url, OPENAI_API_KEY="sk-bench")

    def keepers(self) -> list[int]:
        """Return the keepers that run."""
        found = self.daemons.workers.glob("default/commands/*/*/keeper")
        return [pid for each in found if runs(pid := int(json.loads(each.read_text())["pid"]))]

    def strike(self, what: str) -> None:
        pids = {"supervisor": int(self.daemons.pid_file()["pid"]), "worker": self.daemons.worker_pid()}
        if what in ("control plane", "Temporal"):
            process = self.stack.server if what == "control plane" else self.stack.temporal
            assert process is not None
            process.kill()
            self.stack.start_server() if what == "control plane" else self.stack.start_temporal()
            return
        for name, pid in pids.items():
            if name in what:
                os.kill(pid, signal.SIGKILL)
        if "supervisor" in what:
            self.start()
        else:
            wait_until(lambda: self._another(pids["worker"]), PATIENCE, "another worker")

    def watch(self, execution: str, until: float) -> None:
        """Look at the execution's activities until that time."""
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(LOOK_EVERY, left))
            try:
                self.looks.append(asyncio.run(under_way(self.stack.temporal_address, execution)))
            except (RPCError, RuntimeError) as error:  # Temporal was killed and is not back yet
                self.note("no look", error=str(error)[:200])

    def _another(self, than: int) -> bool:
        try:
            return self.daemons.worker_pid() != than and runs(self.daemons.worker_pid())
        except (KeyError, TypeError, ValueError, OSError):
            return False


async def under_way(address: str, execution: str) -> int:
    """Return how many activities of an execution wait for a worker or hold a slot of one."""
    client = await Client.connect(address)
    description = await client.get_workflow_handle(f"agent-execution-{execution}").describe()
    return len(description.raw_description.pending_activities)


def script(command: str, wait: float) -> list[dict[str, Any]]:
    """Return the model's answers: start, wait until an outcome is in the conversation, and say so."""
    return [
        {"tools": [{"name": "shell_start", "arguments": {"command": command}}]},
        {"when": f"exit code {STATUS}", "text": "The command has ended."},
        {"when": "Outcome unknown", "text": "Nobody knows."},
        {"forever": True, "tools": [{"name": "shell_wait", "arguments": {"seconds": wait}}]},
    ]


def perform(folder: Path, seconds: float, wait: float, every: float, log: Path | None) -> dict[str, Any]:
    made = Stack(folder, persistent=True)
    made.patience = PATIENCE
    with made as stack, Daemons(stack, folder) as daemons:
        starts, lines = stack.trace("starts"), stack.trace("lines")
        count = round(seconds / every)
        loop = f"i=0; while test $i -lt {count}; do sleep {every:g}; i=$((i+1)); echo $i >> {lines}; echo line $i; done"
        with ModelEndpoint(script(f"sh -c 'echo x >> {starts}; {loop}; exit {STATUS}'", wait), kept=10_000) as model:
            hour = Hour(stack, daemons, model, log)
            hour.start()
            limits = {"allowed_commands": ["sh"], "long_commands": True, "long_timeout_seconds": 2 * seconds + 600}
            skill = {"name": "shell", "type": "shell", "configuration": limits}
            budgets = {"budgets": {"max_steps": 100 + round(seconds / 10)}}
            agent = stack.agent("hour", skills=[skill], model_id="gpt-4o", configuration=budgets)
            execution = stack.execute("Run it, and wait for its end.", agent=agent)
            wait_until(starts.exists, PATIENCE, "the command runs")
            hour.began = began = time.monotonic()
            (keeper,) = hour.keepers()
            hour.note("started", execution=execution, keeper=keeper, seconds=seconds, wait=wait, load=os.getloadavg())
            for part, what in STRIKES:
                hour.watch(execution, began + part * seconds)
                hour.strike(what)
                same = hour.keepers() == [keeper]
                hour.note(f"killed: {what}", command_goes_on=same, model_calls=model.count, load=os.getloadavg()[0])
                assert same or time.monotonic() > began + seconds, "the command goes on"
            hour.watch(execution, began + seconds)
            row = waited(lambda: stack.wait(execution, timeout=seconds + PATIENCE))
            told = [each["data"] for each in stack.events(execution) if each["event"] == "tool_completed"]
            outcomes = sum(f"exit code {STATUS}" in json.dumps(each) for each in told)
            result = {
                "status": row["status"],
                "outcome_known": outcomes == 1,
                "starts": len(starts.read_text().split()),
                "lines": len(lines.read_text().split()),
                "lines_expected": count,
                "model_calls": model.count,
                "tool_calls": len(told),
                "usage": row.get("usage"),
                "history_events": len(stack.history(execution)),
                "kills": len(STRIKES),
                "looks": len(hour.looks),
                "looks_with_a_slot_held": sum(bool(each) for each in hour.looks),
                "told_after": round(time.monotonic() - began - seconds, 1),
            }
            hour.note("result", **result)
            return result


def waited(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is looked for, through the control plane's absence."""
    while True:
        try:
            return look()
        except requests.RequestException:
            time.sleep(1)


def run(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=HOUR, help="how long the command runs")
    parser.add_argument("--wait", type=float, default=HOUR, help="what the model asks shell_wait for")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between the lines that it writes")
    parser.add_argument("--log", type=Path, help="a file for what happens")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kubiya-hour-") as folder:
        result = perform(Path(folder), chosen.seconds, chosen.wait, chosen.every, chosen.log)
    good = result["outcome_known"] and result["starts"] == 1 and result["lines"] == result["lines_expected"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(run())
