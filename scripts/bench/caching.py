"""W5: what a run of 30 steps costs with the prompt cache and without, in tokens by kind and in USD.

The endpoint is scripted and keeps to Anthropic's rules of prefix caching (tests/support/prompt_cache.py): at most four
marks, a least size, the same bytes from the first on, 20 blocks of looking back. It counts a quarter of the bytes as
tokens. About 3,000 tokens of tools and system text, then about 1,000 more with each step. The baseline is the same
agent with `"caching": "off"`; prices are the public ones of Claude Sonnet 4.5 (USD per million tokens: input 3, output
15).

Two ways: a gateway that speaks OpenAI's chat completions, and Anthropic's own API.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from scripts.bench.report import Row, Spread, main, say
from scripts.bench.rig import FILES, Rig, rig
from tests.support.prompt_cache import CachingEndpoint, PromptCache

STEPS, QUICK_STEPS = 30, 5
SHARE: Final = 80.0  # percent of input tokens that are to be read from the cache
STEP_BYTES: Final = 3_700  # what a tool returns; with its call and its frame about 1,000 tokens
PROMPT: Final = "You look after the hosts of a small company, and you write down what you find. " * 85
WAYS: Final = {"through a gateway": "claude-sonnet-4-5", "Anthropic's API": "anthropic:claude-sonnet-4-5"}


@dataclass(frozen=True)
class Spent:
    """The tokens and the cost in USD of one run."""

    plain: int
    read: int
    written: int
    output: int
    cost: float  # USD

    @property
    def input(self) -> int:
        return self.plain + self.read + self.written

    @property
    def share(self) -> float:
        return 100 * self.read / self.input

    def wire(self) -> dict[str, Any]:
        kinds = {"input": self.plain, "cache_read": self.read, "cache_creation": self.written, "output": self.output}
        return {"tokens": kinds, "cost_usd": round(self.cost, 4)}


def measure(quick: bool) -> list[Row]:
    steps, rows = QUICK_STEPS if quick else STEPS, []
    with CachingEndpoint() as endpoint:
        os.environ["ANTHROPIC_BASE_URL"] = endpoint.root
        with rig() as bench:
            (bench.workspace / "note").write_text("one line of a log\n" * (STEP_BYTES // 18))
            bench.start(
                LITELLM_API_BASE=endpoint.url,
                LITELLM_API_KEY="sk-bench",
                ANTHROPIC_BASE_URL=endpoint.root,
                ANTHROPIC_API_KEY="sk-bench",
            )
            for way, model in WAYS.items():
                cached = run(bench, endpoint, model, {}, steps)
                plain = run(bench, endpoint, model, {"caching": "off"}, steps)
                say(f"{way}: with {cached.wire()}; without {plain.wire()}")
                rows += both(way, cached, plain, steps)
    return rows


def run(bench: Rig, endpoint: CachingEndpoint, model: str, config: dict[str, Any], steps: int) -> Spent:
    """One execution of an agent that nobody has asked before, with a cache that holds nothing."""
    endpoint.cache = PromptCache()
    tools = [{"name": "read_file", "arguments": {"path": "note"}}]
    endpoint.script[:] = [*({"text": f"Step {n}.", "tools": tools} for n in range(steps - 1)), {"text": "Done."}]
    name = f"caching-{model}-{len(config)}".replace(":", "-")
    agent = bench.stack.agent(name, skills=[FILES], model_id=model, system_prompt=PROMPT, llm_config=config)
    environment = {"working_dir": str(bench.workspace)}
    execution = bench.stack.execute("Read the note.", agent=agent, queue=bench.queue, execution_environment=environment)
    row = bench.stack.wait(execution)
    usage, charges = row["usage"], endpoint.cache.charges
    assert row["status"] == "completed" and len(charges) == steps, row
    assert usage["cache_read_tokens"] == sum(c.read for c in charges), usage
    plain = usage["input_tokens"] - usage["cache_read_tokens"] - usage["cache_creation_tokens"]
    counts = (usage["cache_read_tokens"], usage["cache_creation_tokens"], usage["output_tokens"])
    return Spent(plain, *counts, usage["cost_usd"])


def both(way: str, cached: Spent, plain: Spent, steps: int) -> list[Row]:
    more = {"with": cached.wire(), "without": plain.wire(), "steps": steps}
    without = "`caching: off`"
    return [
        Row(
            *("W5", f"input read from the cache, {way}", "%", Spread.of([cached.share]), without),
            *(Spread.of([plain.share]), f"at least {SHARE:g} %", lambda ours, _: ours.median >= SHARE, more),
        ),
        Row(
            "W5", f"{steps} steps, {way}", "USD", Spread.of([cached.cost]), without, Spread.of([plain.cost]), more=more
        ),
    ]


if __name__ == "__main__":
    main("caching", __doc__, measure)
