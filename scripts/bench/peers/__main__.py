"""P7: our agents beside those of Temporal's openai-agents plugin and of pydantic-ai, on the same server and endpoint.

The peers have an environment of their own, which pip makes in `--environment` the first time (build/peers by default);
none of it is a dependency of the product. All use one scripted model endpoint by HTTP, one Temporal dev server with the
settings of `kubiya dev`, and a tool that reads a file of the workspace.

Ours streams the model's answers, and writes its events and its session to the control plane; its time ends with the
client's stream. The peers do none of that; their time ends when the client has the workflow's result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import psutil

from scripts.bench.report import Row, Spread, at_least, at_most, facts_line, machine, markdown, say
from scripts.bench.rig import FILES, Rig, rig
from scripts.bench.throughput import seconds_of
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import ROOT, Process

PACKAGES: Final = ("temporalio[openai-agents]==1.35.0", "pydantic-ai-slim[openai,temporal]==2.68.0")
PEERS: Final = {"openai-agents": "openai_agents_worker", "pydantic-ai": "pydantic_ai_worker"}
OURS: Final = "ours"
SLOTS: Final = 50
AT_ONCE: Final = 50
OUTPUT: Final = 8_000  # characters that the tool reads in the long runs
READ: Final[dict[str, Any]] = {"tools": [{"name": "read_file", "arguments": {"path": "note"}}]}
READ_LARGE: Final[dict[str, Any]] = {"tools": [{"name": "read_file", "arguments": {"path": "large"}}]}
DONE: Final[dict[str, Any]] = {"text": "Done."}
SCRIPTS: Final[dict[str, list[dict[str, Any]]]] = {
    "short": [READ, DONE],
    "ten": [READ_LARGE] * 10 + [DONE],
    "forty": [READ_LARGE] * 40 + [DONE],
    "eighty": [READ_LARGE] * 80 + [DONE],
}
PROMPT: Final = "Look into the file."


def environment(folder: Path) -> Path:
    """Return the interpreter of the peers' environment, which is made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making {folder}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


class Contest:
    """The workers of all, and a run of each."""

    def __init__(self, bench: Rig, endpoint: ModelEndpoint, python: Path) -> None:
        self._bench = bench
        self.cpu: dict[str, list[float]] = defaultdict(list)  # milliseconds of a run, by name
        (bench.workspace / "large").write_text("line of a log file\n" * (OUTPUT // 19))
        self._agents = {model: bench.stack.agent(model, model_id=model, skills=[FILES]) for model in SCRIPTS}
        shared = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-bench"}
        slots = {"MAX_CONCURRENT_ACTIVITIES": str(SLOTS), "KUBIYA_CONFINEMENT": "off"}
        self.workers: dict[str, Process] = {OURS: bench.stack.worker(bench.queue, ready=True, **shared, **slots)}
        self.workers[OURS].expect("worker.loaded")
        about = {"PEER_WORKSPACE": str(bench.workspace), "PEER_MODELS": ",".join(SCRIPTS), "PYTHONPATH": ""}
        for name, module in PEERS.items():
            argv = [str(python), str(Path(__file__).with_name(f"{module}.py"))]
            argv += ["--address", bench.stack.temporal_address, "--queue", name, "--slots", str(SLOTS)]
            self.workers[name] = bench.stack.start(argv, {**shared, **about})
            self.workers[name].expect("peer.started", 60)

    async def run(self, name: str, model: str) -> tuple[float, str]:
        """Return the seconds of one run, and the id of its workflow."""
        bench, began = self._bench, time.monotonic()
        if name == OURS:
            execution = await bench.api.execute(self._agents[model], bench.queue, PROMPT, str(bench.workspace))
            assert await bench.api.done(execution) == "completed"
            return time.monotonic() - began, f"agent-execution-{execution}"
        key = f"{name}-{uuid.uuid4().hex}"
        answer = await bench.temporal.execute_workflow("Peer", args=[model, PROMPT], id=key, task_queue=name)
        assert answer == DONE["text"], answer
        return time.monotonic() - began, key

    async def seconds(self, name: str, model: str) -> float:
        return (await self.run(name, model))[0]

    async def history(self, name: str, model: str) -> float:
        """Return the bytes of a run's history."""
        _, key = await self.run(name, model)
        about = await self._bench.temporal.get_workflow_handle(key).describe()
        return float(about.raw_description.workflow_execution_info.history_size_bytes)

    def rounds(self, number: int, take: Callable[[str], Awaitable[float]], warm: int = 1) -> dict[str, Spread]:
        """Measure all in turn, beginning with another one each round."""
        names = list(self.workers)
        found: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(-warm, number):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                value = self._bench.run(take(name))
                if turn >= 0:
                    found[name].append(value)
        return {name: Spread.of(values) for name, values in found.items()}

    async def rate(self, name: str, total: int) -> float:
        """Return runs per second, and note the CPU that one took: of the worker, and for ours of the control plane."""
        parts = [self.workers[name], *([self._bench.stack.server] if name == OURS else [])]
        before = sum(map(seconds_of, parts))
        seconds = await self._bench.many(total, AT_ONCE, lambda: self.seconds(name, "short"))
        self.cpu[name].append((sum(map(seconds_of, parts)) - before) / total * 1000)
        return total / seconds

    def memory(self) -> dict[str, Spread]:
        """Return the MiB that each worker's process holds now."""
        return {name: Spread.of([psutil.Process(w.pid).memory_info().rss / 2**20]) for name, w in self.workers.items()}


def rows(contest: Contest, quick: bool) -> list[Row]:
    found: list[Row] = []

    def add(what: str, unit: str, values: dict[str, Spread], bar: str = "", met: Any = None) -> None:
        for peer in PEERS:
            first = peer == "openai-agents"
            about = (bar, met) if first else ("", None)
            found.append(Row("P7", what, unit, values[OURS], peer, values[peer], *about))

    latency = contest.rounds(1 if quick else 25, lambda name: contest.seconds(name, "short"), warm=1 if quick else 5)
    add("two model calls and a tool: latency", "s", latency, "at most 0.90", at_most(0.9))
    total = 10 if quick else 100
    rate = contest.rounds(1 if quick else 5, lambda name: contest.rate(name, total))
    add("the same, 50 at once", "executions/s", rate, "at least 1.20", at_least(1.2))
    cpu = {name: Spread.of(values[1:]) for name, values in contest.cpu.items()}  # the first ones warmed up
    add("the same: CPU of the worker, for ours with the control plane", "ms", cpu)
    add("memory of the worker after these", "MiB", contest.memory())
    for model in ("ten",) if quick else ("ten", "forty", "eighty"):
        steps = f"{len(SCRIPTS[model]) - 1} tool calls with outputs of {OUTPUT // 1000} kB"
        add(steps, "s", contest.rounds(1 if quick else 3, lambda name: contest.seconds(name, model), 0))  # noqa: B023
        add(f"{steps}: history", "bytes", contest.rounds(1, lambda name: contest.history(name, model), 0))  # noqa: B023
    add("memory of the worker after all", "MiB", contest.memory())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.peers", description=__doc__)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--quick", action="store_true", help="as little as it takes to see that the bench works")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python = environment(options.environment.absolute())
    facts = machine()
    with ModelEndpoint(by_model=json.loads(json.dumps(SCRIPTS))) as endpoint, rig(slots=SLOTS) as bench:
        measured = rows(Contest(bench, endpoint, python), options.quick)
    if options.json:
        print(json.dumps({"bench": "peers", "machine": facts, "rows": [row.wire() for row in measured]}))
    else:
        print(f"peers: {facts_line(facts)}\n{markdown(measured)}")


if __name__ == "__main__":
    main()
