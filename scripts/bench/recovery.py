"""Measure how soon after an outage the control plane learns of a run that ended during it.

Executions end while the control plane is away for so many seconds. Measured for each: from the moment in which the
control plane listens again until its row says `completed`, which is the last write but figures.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from scripts.bench.report import Row, Spread, below, main, say
from tests.support.demo_scripts import script
from tests.support.stack import Stack

AWAY = (5.0, 20.0, 60.0)  # seconds
AT_ONCE = 5
BAR = 2.0  # seconds
LOST = 300.0  # seconds after which an execution counts as never told


def outage(stack: Stack, queue: str, agent: str, away: float) -> list[float]:
    """Seconds from the recovery until each execution is told as completed."""
    prompt = script({"text": "Words that are said while nobody listens.", "delay_ms": 150})
    keys = [stack.execute(prompt, agent=agent, queue=queue) for _ in range(AT_ONCE)]
    for key in keys:
        stack.wait(key, "running")
    assert stack.server is not None
    stack.server.kill()
    time.sleep(away)
    stack.start_server()
    back = time.monotonic()
    took: dict[str, float] = {}
    while len(took) < len(keys) and time.monotonic() - back < LOST:
        for key in keys:
            if key not in took and stack.execution(key)["status"] == "completed":
                took[key] = time.monotonic() - back
        time.sleep(0.02)
    assert len(took) == len(keys), f"{len(took)} of {len(keys)} were told"
    return list(took.values())


def undisturbed(stack: Stack, queue: str, agent: str) -> list[float]:
    """Return how long the same runs take, from start to told, while the control plane is there (seconds)."""
    prompt = script({"text": "Words that are said while somebody listens.", "delay_ms": 150})
    began = time.monotonic()
    keys = [stack.execute(prompt, agent=agent, queue=queue) for _ in range(AT_ONCE)]
    took = []
    for key in keys:
        stack.wait(key, "completed")
        took.append(time.monotonic() - began)
    return took


def measure(quick: bool) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        queue = stack.queue("recovery")
        stack.worker(queue, KUBIYA_SPOOL=f"{folder}/spool")
        agent = stack.agent("recovery")
        stack.wait(stack.execute(script({"text": "First."}), agent=agent, queue=queue))
        calm = Spread.of(undisturbed(stack, queue, agent))
        beside = "the same runs from start to end, without an outage"
        for away in AWAY[:1] if quick else AWAY:
            took = outage(stack, queue, agent, away)
            say(f"away for {away:g} s: {', '.join(f'{x:.2f}' for x in took)}")
            what = f"from the control plane's return to a run's last write, away for {away:g} s"
            bar = f"every one < {BAR:g} s"
            rows.append(Row("recovery", what, "s", Spread.of(took), beside, calm, bar=bar, met=below(BAR, of="max")))
    return rows


if __name__ == "__main__":
    main("recovery", __doc__, measure)
