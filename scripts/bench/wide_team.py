"""A wide team: 20 members at the same time on two workers with two slots each, which the leader shares with them.

The baseline are the same 20 agents, asked the same at the same time on the same workers, without a team: what lies
between is what leading, asking and one budget cost. An agent's run is a model call, a tool call and a model call. Each
model call has a known price in tokens; the bench fails when the team is not billed for exactly those that were made,
or when a member's answer is missing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import aclosing
from typing import Any, Final

from scripts.bench.report import Row, Spread, main
from scripts.bench.rig import Rig, rig
from tests.support.model_endpoint import Answer, ModelEndpoint

MEMBERS: Final = 20
WORKERS: Final = 2
SLOTS: Final = 2  # of each
MODEL: Final = "scripted"
COST: Final = {"prompt_tokens": 101, "completion_tokens": 7, "total_tokens": 108}
SHELL: Final = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["true"]}}


class Bench:
    def __init__(self, bench: Rig, members: int) -> None:
        self.bench, self.members = bench, members
        work = {"name": "shell", "arguments": {"command": "true"}}
        steps: list[Answer] = [{"text": "Working.", "tools": [work], "usage": COST}, {"text": "ok", "usage": COST}]
        ask = [{"name": f"ask_m{n}", "arguments": {"task": "Work."}} for n in range(members)]
        lead: list[Answer] = [
            {"when": "Lead them.", "text": "", "tools": ask, "usage": COST},
            {"when": "Lead them.", "text": "All are back.", "usage": COST},
        ]
        self._lead = lead
        self.endpoint = ModelEndpoint(by_step=steps, kept=0).start()
        for _ in range(WORKERS):
            bench.stack.worker(
                bench.queue,
                MAX_CONCURRENT_ACTIVITIES=str(SLOTS),
                OPENAI_BASE_URL=self.endpoint.url,
                OPENAI_API_KEY="sk-bench",
            )
        self.agents = [bench.stack.agent(f"m{n}", skills=[SHELL], model_id=MODEL) for n in range(members)]
        configuration = {
            "member_ids": self.agents,
            "llm": {"model": MODEL},
            "budgets": {"max_steps": 2 * members + 2},  # one more would be refused
        }
        self.team = bench.stack.call("POST", "/teams", {"name": "wide", "configuration": configuration})["id"]
        self.slowest: dict[str, list[float]] = {"team": [], "alone": []}

    def as_a_team(self) -> float:
        """Seconds for all members; notes the slowest one's."""
        self.endpoint.script, before = list(self._lead), self.endpoint.count
        seconds, events, execution = self.bench.run(self._lead_them())
        row = self.bench.stack.execution(execution)
        assert (row["status"], row["response"]) == ("completed", "All are back."), row
        calls = self.endpoint.count - before
        assert calls == 2 * self.members + 2, calls
        billed = row["usage"]["total_tokens"]
        assert billed == calls * COST["total_tokens"], f"{billed} tokens billed for {calls} calls"
        begun = {data["tool_execution_id"]: at for at, kind, data in events if kind == "tool_started"}
        ended = [(at, data) for at, kind, data in events if kind == "tool_completed"]
        assert Counter(data["tool_output"] for _, data in ended) == Counter({"ok": self.members}), ended
        self.slowest["team"].append(max(at - begun[data["tool_execution_id"]] for at, data in ended))
        return seconds

    async def _lead_them(self) -> tuple[float, list[tuple[float, str, dict[str, Any]]], str]:
        api, began = self.bench.api, time.monotonic()
        request = {"prompt": "Lead them.", "worker_queue_id": self.bench.queue}
        execution = str((await api.post(f"/teams/{self.team}/execute", request))["execution_id"])
        events: list[tuple[float, str, dict[str, Any]]] = []
        async with aclosing(api.events(execution)) as stream:
            async for kind, raw in stream:
                if kind in ("tool_started", "tool_completed"):
                    data = json.loads(raw)
                    events.append((time.monotonic(), kind, data.get("data", data)))
                elif kind == "done":
                    break
        return time.monotonic() - began, events, execution

    def alone(self) -> float:
        async def all_of_them() -> list[float]:
            api, queue = self.bench.api, self.bench.queue
            return list(await asyncio.gather(*(api.run(agent, queue, "Work.") for agent in self.agents)))

        began = time.monotonic()
        each = self.bench.run(all_of_them())
        self.slowest["alone"].append(max(each))
        return time.monotonic() - began


def measure(quick: bool) -> list[Row]:
    members, rounds = (4, 1) if quick else (MEMBERS, 9)
    with rig() as made:
        bench = Bench(made, members)
        try:
            for take in (bench.alone, bench.as_a_team):  # loads the model's packages on both workers
                take()
            bench.slowest = {"team": [], "alone": []}
            team: list[float] = []
            alone: list[float] = []
            for n in range(rounds):
                for take, kept in [(bench.as_a_team, team), (bench.alone, alone)][:: 1 if n % 2 else -1]:
                    kept.append(take() / members * 1000)
        finally:
            bench.endpoint.stop()
    base = f"{members} executions at once, without a team"
    each = Row("Teams", f"{members} members at once: time for each", "ms", Spread.of(team), base, Spread.of(alone))
    slow = {name: Spread.of(values) for name, values in bench.slowest.items()}
    slowest = Row("Teams", "the slowest of them", "s", slow["team"], base, slow["alone"])
    each.more.update(workers=WORKERS, slots=SLOTS, tokens_billed_too_many=0)
    return [each, slowest]


if __name__ == "__main__":
    main("wide-team", __doc__, measure)
