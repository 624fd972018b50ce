"""P8: the first run of a fresh worker beside its next one. What is loaded lazily would be paid for by the first.

A run is one model call over HTTP and one tool call. Each pair has a worker of its own; its first run begins when the
worker has loaded what runs need, or, for the other row, at the moment at which it is ready.
"""

from __future__ import annotations

import json

from scripts.bench.report import Met, Row, Spread, main
from scripts.bench.rig import Rig, rig
from tests.support.model_endpoint import ModelEndpoint

MODEL = "scripted"
MOST = 0.2  # seconds that the first run may cost more
STEPS = [{"tools": [{"name": "list_files", "arguments": {"path": "."}}]}, {"text": "Done."}]
BEGINS = {"worker.loaded": "first run of a fresh worker", "worker.ready": "first run, at the moment of ready"}


def measure(quick: bool) -> list[Row]:
    pairs: dict[str, list[tuple[float, float]]] = {begins: [] for begins in BEGINS}
    steps = json.loads(json.dumps(STEPS))
    with ModelEndpoint(by_step=steps) as endpoint, rig() as bench:
        agent = bench.stack.agent("first", model_id=MODEL, skills=[{"name": "files", "type": "file_system"}])
        pair(bench, endpoint, agent, "warm", "worker.loaded")  # the control plane has first runs too
        for number in range(1 if quick else 5):
            for begins in BEGINS:
                pairs[begins].append(pair(bench, endpoint, agent, f"pair-{number}-{begins[7:]}", begins))
    return [row(begins, pairs[begins]) for begins in BEGINS]


def pair(bench: Rig, endpoint: ModelEndpoint, agent: str, name: str, begins: str) -> tuple[float, float]:
    """Return the seconds of the first run of a fresh worker, and of its next one."""
    queue = bench.stack.queue(name)
    worker = bench.stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-bench")
    worker.expect(begins)
    first, following = (bench.run(bench.api.run(agent, queue, "Look around.", str(bench.workspace))) for _ in range(2))
    worker.kill()
    return first, following


def row(begins: str, pairs: list[tuple[float, float]]) -> Row:
    first, following = (Spread.of(list(values)) for values in zip(*pairs, strict=True))
    costs = [round(one - other, 3) for one, other in pairs]
    met: Met | None = None
    if begins == "worker.loaded":
        met = lambda ours, base: base is not None and ours.median - base.median <= MOST  # noqa: E731
    bar = f"at most {MOST} s more" if met else ""
    return Row("P8", BEGINS[begins], "s", first, "its next run", following, bar, met, {"more": costs})


if __name__ == "__main__":
    main("first_run", __doc__, measure)
