"""A rolling restart under load: two workers of one queue, one after the other stopped and started anew, over and over.

Executions are started at a steady rate all the while: a model call of 0.2 s, a tool that may not run twice and takes
0.3 s, a model call. Each tool call writes a line when it takes effect, so a repeated one shows. First with SIGTERM
(`kubiya worker stop`: the grace period), then with SIGQUIT (`kubiya worker drain`). Baseline: the same undisturbed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from scripts.bench.report import Row, Spread, main, say
from scripts.bench.rig import Rig, rig
from tests.support.demo_scripts import script
from tests.support.stack import Process

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
WORKERS = 2
RATE = 3.0  # executions a second
CALM = 30.0  # seconds without a restart
PATIENCE = 120.0  # seconds after which an execution counts as lost
READY = 120.0  # seconds that a new worker has
BAR = "0 failed, 0 lost, 0 repeated tool calls"


@dataclass
class Tally:
    """The tally counts the outcomes of the executions of one phase."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    failed: int = 0
    lost: int = 0
    repeated: int = 0
    missing: int = 0
    restarts: list[float] = field(default_factory=list)  # seconds of each until the new worker was ready

    def facts(self) -> dict[str, float]:
        counted = {name: getattr(self, name) for name in ("failed", "lost", "repeated", "missing")}
        slowest = round(max(self.restarts, default=0.0), 1)
        return {"executions": len(self.tokens), **counted, "restarts": len(self.restarts), "slowest_ready": slowest}


class Load:
    """Executions at a steady rate. `file` gets a line of each tool call that takes effect."""

    def __init__(self, bench: Rig) -> None:
        self._bench = bench
        self._agent = bench.stack.agent("rolling", skills=[SHELL])
        self._file = bench.workspace / "effects"
        self._file.touch()

    async def during(self, phase: Callable[[], Awaitable[list[float]]]) -> Tally:
        """Starts executions until `phase` is over, which gives the restarts that it made; waits for all of them."""
        tally = Tally()
        running = asyncio.ensure_future(phase())
        started: list[asyncio.Task[None]] = []
        began = time.monotonic()
        while not running.done():
            started.append(asyncio.create_task(self._one(tally)))
            await asyncio.sleep(max(0.0, began + len(started) / RATE - time.monotonic()))
        tally.restarts = await running
        await asyncio.gather(*started)
        effects = Counter(self._file.read_text().split())
        tally.repeated = sum(effects[token] - 1 for token in tally.tokens if effects[token] > 1)
        tally.missing = sum(effects[token] == 0 for token in tally.tokens)
        return tally

    async def _one(self, tally: Tally) -> None:
        token = uuid.uuid4().hex
        tally.tokens.append(token)
        call = {"name": "shell", "arguments": {"command": f"sh -c 'echo {token} >> {self._file}; sleep 0.3'"}}
        prompt = script({"text": "Look.", "tools": [call], "delay_ms": 200}, {"text": "Done."})
        bench, began = self._bench, time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                execution = await bench.api.execute(self._agent, bench.queue, prompt, str(bench.workspace))
                status = await bench.api.done(execution)
        except TimeoutError:
            tally.lost += 1
            return
        tally.seconds.append(time.monotonic() - began)
        tally.failed += status != "completed"


class Workers:
    def __init__(self, bench: Rig, number: int) -> None:
        self._bench = bench
        self._running = [self._start() for _ in range(number)]

    def _start(self) -> Process:
        slots = str(self._bench.slots)
        worker = self._bench.stack.worker(self._bench.queue, ready=False, MAX_CONCURRENT_ACTIVITIES=slots)
        worker.expect("worker.ready", READY)
        return worker

    async def restart_each(self, number: signal.Signals, rounds: int) -> list[float]:
        """One after the other; seconds from the start of each new one until it was ready."""
        took = []
        for _ in range(rounds):
            for n, worker in enumerate(self._running):
                worker.signal(number)
                code = await asyncio.to_thread(worker.wait, 60)
                assert code == 0, worker.lines[-20:]
                began = time.monotonic()
                self._running[n] = await asyncio.to_thread(self._start)
                took.append(time.monotonic() - began)
        return took


async def _calm(seconds: float) -> list[float]:
    await asyncio.sleep(seconds)
    return []


def _clean(tally: Tally) -> bool:
    return not (tally.failed or tally.lost or tally.repeated or tally.missing)


def measure(quick: bool) -> list[Row]:
    rounds = 1 if quick else 5
    with rig(slots=10) as bench:
        workers, load = Workers(bench, WORKERS), Load(bench)
        bench.run(load.during(lambda: _calm(2.0)))  # the first ones load what the workers need
        calm = bench.run(load.during(lambda: _calm(4.0 if quick else CALM)))
        say(f"undisturbed: {json.dumps(calm.facts())}")
        rows = []
        for name, number in (("SIGTERM", signal.SIGTERM), ("SIGQUIT (drain)", signal.SIGQUIT)):
            tally = bench.run(load.during(partial(workers.restart_each, number, rounds)))
            say(f"{name}: {json.dumps(tally.facts())}")
            good = _clean(tally) and _clean(calm)
            what = f"one execution while {WORKERS} workers are restarted by {name}"
            ours, base = Spread.of(tally.seconds), Spread.of(calm.seconds)
            more = {"restarted": tally.facts(), "undisturbed": calm.facts()}
            rows.append(Row("rolling", what, "s", ours, "undisturbed", base, BAR, lambda *_, good=good: good, more))
    return rows


if __name__ == "__main__":
    main("rolling", __doc__, measure)
