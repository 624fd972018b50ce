"""Measure the time that a request to the policy service adds to a tool call.

Two workers on one stack, one of which asks a service on the same machine that says yes at once. `added` is the slope
between a short run and a long one with it, less the same slope without it; `answer` is the latency that the events of
the tool calls carry.
"""

from __future__ import annotations

from scripts.bench.report import Row, Spread, alternate, main
from scripts.bench.rig import NOTE_STEP, rig
from tests.support.demo_scripts import script
from tests.support.enforcer import EnforcerService

SHORT, LONG = 1, 21  # tool calls


def prompt(rounds: int) -> str:
    return script(*[NOTE_STEP] * rounds, {"text": "Done."})


def measure(quick: bool) -> list[Row]:
    with EnforcerService() as service, rig() as bench:
        asking = bench.stack.queue("asking")
        bench.start()
        bench.stack.worker(asking, KUBIYA_ENFORCE_ENABLED="true", ENFORCER_SERVICE_URL=service.url)

        def slope(queue: str) -> float:
            work = (bench.api.run(bench.agent, queue, prompt(n), str(bench.workspace)) for n in (SHORT, LONG))
            short, long = map(bench.run, work)
            return (long - short) / (LONG - SHORT) * 1000

        count = 1 if quick else 15
        with_it, without = alternate(count, lambda: slope(asking), lambda: slope(bench.queue), warm=0 if quick else 2)
        execution = bench.stack.execute(prompt(5 if quick else 200), agent=bench.agent, queue=asking)
        told = [e["data"] for e in bench.stack.events(execution, timeout=120) if e["event"] == "tool_completed"]
        answers = Spread.of([data["enforcement"]["latency_ms"] for data in told])
    return [
        Row("X3", "model call and tool call, policy service asked", "ms", with_it, "not asked", without),
        Row("X3", "answer of the policy service", "ms", answers),
    ]


if __name__ == "__main__":
    main("enforcer", __doc__, measure)
