"""Measure how soon a change of authority holds for executions that run or wait already.

Each execution calls `list_files` again and again. Measured: from before the request that makes the change until the
stream shows its effect, which is the first call that is denied, or for a stop the last call that begins. Beside it:
from one call to the next without a change. The answer of the control plane counts for two seconds (FRESH in
kubiya_worker/activities/authority.py), so about that long is expected.
"""

from __future__ import annotations

import itertools
import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts.bench.report import Row, Spread, below, main, say
from tests.support.demo_scripts import script
from tests.support.stack import Stack

BAR: Final = 5.0  # seconds (A2)
STEPS: Final = 90  # calls of an execution, more than ten seconds of them
QUIET: Final = 3.0  # seconds without a new call after which a stop counts as complete
AWAY: Final = 3.0  # seconds
FILES: Final = {"name": "files", "type": "file_system", "configuration": {}}
SLEEP: Final = {"name": "nap", "type": "sleep"}
LIST: Final = {"text": "Looking again.", "delay_ms": 20, "tools": [{"name": "list_files", "arguments": {}}]}
LASTS: Final = 3.0  # seconds of a long model call, and of a long tool
THINK: Final = {**LIST, "text": "Let me think about this once more.", "delay_ms": LASTS * 1000 / 7}
NAP: Final = {"text": "Waiting.", "tools": [{"name": "sleep", "arguments": {"seconds": LASTS}}]}
PROMPT: Final = script(*[LIST] * STEPS, {"text": "Done."})

Seen = tuple[float, str, dict[str, Any]]  # monotonic seconds, kind of event, its data


class Watched:
    """An execution and its events, read by a thread of its own as they come."""

    def __init__(self, stack: Stack, execution: str) -> None:
        self.stack, self.execution = stack, execution
        self._seen: queue.Queue[Seen] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for event in self.stack.events(self.execution):
            self._seen.put((time.monotonic(), event["event"].removeprefix("member_"), event["data"]))

    def next(self, kind: str, timeout: float = 30.0, **data: str) -> float | None:
        """Return when the next event of this kind came; None when none came in time."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                at, seen, found = self._seen.get(timeout=left)
            except queue.Empty:
                return None
            if seen == kind and all(found.get(name) == value for name, value in data.items()):
                return at
        return None

    def end(self) -> None:
        self.stack.call("POST", f"/executions/{self.execution}/cancel", {})
        self.stack.wait(self.execution)


class Bench:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def agent(self) -> str:
        return self.stack.agent(f"agent-{uuid.uuid4().hex[:8]}", skills=[FILES, SLEEP])

    def run(self, prompt: str = PROMPT) -> tuple[Watched, str]:
        agent = self.agent()
        return Watched(self.stack, self.stack.execute(prompt, agent=agent)), agent

    def rule(self, action: str, **fields: Any) -> str:
        body = {"name": f"rule-{uuid.uuid4().hex[:8]}", "scope_type": "tool", "scope_value": "list_files"}
        return str(self.stack.call("POST", "/approval-rules", {**body, "action": action, **fields})["id"])

    def forget(self, *rules: str) -> None:
        for rule in rules:
            self.stack.call("DELETE", f"/approval-rules/{rule}")

    def undisturbed(self) -> list[float]:
        """Return the seconds from one call's end to the next one's, for ten calls."""
        watched, _ = self.run()
        ends = [watched.next("tool_completed", outcome="success") for _ in range(11)]
        watched.end()
        at = [each for each in ends if each is not None]
        return [later - sooner for sooner, later in itertools.pairwise(at)]

    def denied(self, watched: Watched, change: Callable[[], str | None]) -> float:
        """Make the change in the middle of the calls; return the seconds until one is denied."""
        for _ in range(3):
            assert watched.next("tool_completed", outcome="success") is not None
        began = time.monotonic()
        rule = change()
        at = watched.next("tool_completed", outcome="denied")
        watched.end()
        if rule is not None:
            self.forget(rule)
        assert at is not None, "no call was denied"
        return at - began

    def by_rule(self) -> float:
        return self.denied(self.run()[0], lambda: self.rule("deny"))

    def by_removal(self) -> float:
        watched, agent = self.run()
        return self.denied(watched, lambda: self.take_away(agent))

    def take_away(self, agent: str) -> None:
        self.stack.call("PATCH", f"/agents/{agent}", {"skills": [SLEEP]})

    def team(self, task: str = PROMPT) -> tuple[Watched, str]:
        """Run a team whose leader gives the task to its member; return it with the member."""
        member = self.agent()
        name = self.stack.call("GET", f"/agents/{member}")["name"]
        body = {"name": f"team-{uuid.uuid4().hex[:8]}"}
        configuration = {"member_ids": [member], "llm": {"model": "demo"}}
        team = self.stack.call("POST", "/teams", {**body, "configuration": configuration})["id"]
        ask = {"text": "Ask.", "tools": [{"name": f"ask_{name}", "arguments": {"task": task}}]}
        request = {"prompt": script(ask, {"text": "Done."}), "worker_queue_id": "default"}
        execution = self.stack.call("POST", f"/teams/{team}/execute", request)["execution_id"]
        return Watched(self.stack, execution), member

    def of_member(self) -> float:
        return self.denied(self.team()[0], lambda: self.rule("deny"))

    def of_member_by_removal(self) -> float:
        watched, member = self.team()
        return self.denied(watched, lambda: self.take_away(member))

    def during(self, step: dict[str, Any], begun: str, change: Callable[[str], str | None]) -> float:
        """Make the change while a model call or a tool is under way; return the seconds until the next is denied."""
        watched, agent = self.run(script(step, LIST, {"text": "Done."}))
        assert watched.next(begun) is not None
        began = time.monotonic()
        rule = change(agent)
        at = watched.next("tool_completed", outcome="denied", tool_name="list_files")
        self.stack.wait(watched.execution)
        if rule is not None:
            self.forget(rule)
        assert at is not None, "the call ran"
        return at - began

    def away(self) -> float:
        """Kill the control plane, and start it again; return when it is back."""
        assert self.stack.server is not None
        self.stack.server.kill()
        time.sleep(AWAY)  # what is measured is the outage's end
        self.stack.start_server()
        return time.monotonic()

    def in_outage(self, *, team: bool = False, removal: bool = False) -> float:
        """Kill the control plane right after the change; count from its return."""
        watched, agent = self.team() if team else self.run()
        for _ in range(3):
            assert watched.next("tool_completed", outcome="success") is not None
        rule = None
        if removal:
            self.take_away(agent)
        else:
            rule = self.rule("deny")
        began = self.away()
        at = watched.next("tool_completed", outcome="denied")
        watched.end()
        if rule is not None:
            self.forget(rule)
        assert at is not None, "no call was denied"
        return max(0.0, at - began)

    def person(self, name: str) -> dict[str, str]:
        """Return the headers of an approver."""
        body = {"name": name, "role": "approver", "email": f"{name}-{uuid.uuid4().hex[:8]}@example.org"}
        made = self.stack.call("POST", "/keys", body)
        return {"Authorization": f"Bearer {made['key']}", "email": body["email"]}

    def approver(self, *, away: bool = False) -> float:
        """Change who may answer; return the seconds until the old one is refused and the call ran by the new one."""
        old, new = self.person("old"), self.person("new")
        rule = self.rule("ask", approver_type="user_emails", approver_value=old.pop("email"))
        watched, _ = self.run(script(LIST, {"text": "Done."}))
        assert watched.next("approval_requested") is not None
        approval = self.stack.call("GET", f"/approvals?execution_id={watched.execution}")[0]["id"]
        began = time.monotonic()
        named = {"approver_type": "user_emails", "approver_value": new.pop("email")}
        self.stack.call("PUT", f"/approval-rules/{rule}", named)
        began = self.away() if away else began
        for headers, status in ((old, 403), (new, 200)):
            url = f"{self.stack.url}/api/v1/approvals/{approval}/approve"
            told = self.stack.http.post(url, json={}, headers=headers, timeout=30)
            assert told.status_code == status, told.text
        at = watched.next("tool_completed", outcome="success")
        self.stack.wait(watched.execution)
        self.forget(rule)
        assert at is not None, "the call did not run"
        return at - began

    def waiting(self) -> float:
        """Return the seconds from a deny rule to the end of a call that waits for a person's answer."""
        asking = self.rule("ask", priority=1)
        watched, _ = self.run(script(LIST, {"text": "Done."}))
        assert watched.next("approval_requested") is not None
        began = time.monotonic()
        denying = self.rule("deny", priority=2)
        at = watched.next("tool_completed", outcome="denied")
        self.stack.wait(watched.execution)
        self.forget(asking, denying)
        assert at is not None, "the call still waits"
        return at - began

    def stopped(self, *, team: bool = False) -> float:
        """Return the seconds from a stop of all to the beginning of the last call."""
        watched, _ = self.team() if team else self.run()
        for _ in range(3):
            assert watched.next("tool_completed", outcome="success") is not None
        began = last = time.monotonic()
        self.stack.call("POST", "/stop", {"reason": "bench"})
        while (at := watched.next("tool_started", QUIET)) is not None:
            last = at
        self.stack.call("DELETE", "/stop")
        watched.end()
        return last - began

    def stopped_during(self, step: dict[str, Any], begun: str) -> float:
        """Stop all while a model call or a tool is under way; return the seconds to the next call; 0 if none came."""
        watched, _ = self.run(script(step, LIST, {"text": "Done."}))
        assert watched.next(begun) is not None
        began = time.monotonic()
        self.stack.call("POST", "/stop", {"reason": "bench"})
        at = watched.next("tool_started", LASTS + QUIET)
        self.stack.call("DELETE", "/stop")
        watched.end()
        return 0.0 if at is None else at - began

    def stopped_in_outage(self) -> float:
        """Kill the control plane right after a stop of all; return the seconds from its return to the pause."""
        watched, _ = self.run()
        for _ in range(3):
            assert watched.next("tool_completed", outcome="success") is not None
        self.stack.call("POST", "/stop", {"reason": "bench"})
        began = self.away()
        while self.stack.state(watched.execution)["status"] != "paused":
            assert time.monotonic() - began < 30, "the execution goes on"
        took = time.monotonic() - began
        self.stack.call("DELETE", "/stop")
        watched.end()
        return took


def measure(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.worker(KUBIYA_SPOOL=f"{folder}/spool")
        bench = Bench(stack)
        calm = Spread.of(bench.undisturbed())
        killed = f", the control plane killed for {AWAY:g} s: from its return"
        tool, model = (NAP, "tool_started"), (THINK, "message_chunk")
        running, thinking = f"in a tool of {LASTS:g} s", f"in a model call of {LASTS:g} s"
        deny, remove = (lambda _: bench.rule("deny")), bench.take_away
        cases: dict[str, Callable[[], float]] = {
            "a deny rule, for an execution that calls": bench.by_rule,
            "a deny rule, for a member of a team that calls": bench.of_member,
            "a deny rule, for a call that waits for a person": bench.waiting,
            f"a deny rule, for an execution {thinking}: until the call that it asks for": lambda: bench.during(
                *model, deny
            ),
            f"a deny rule, for an execution {running}: until the next call": lambda: bench.during(*tool, deny),
            "a deny rule" + killed: bench.in_outage,
            "a deny rule, for a member of a team" + killed: lambda: bench.in_outage(team=True),
            "a skill taken away, for an execution that calls": bench.by_removal,
            "a skill taken away, for a member of a team that calls": bench.of_member_by_removal,
            f"a skill taken away, for an execution {thinking}: until the call that it asks for": lambda: bench.during(
                *model, remove
            ),
            f"a skill taken away, for an execution {running}: until the next call": lambda: bench.during(*tool, remove),
            "a skill taken away" + killed: lambda: bench.in_outage(removal=True),
            "another approver, for a call that waits: until it has run by the new one's yes": bench.approver,
            "another approver" + killed: lambda: bench.approver(away=True),
            "a stop of all: until the last call begins": bench.stopped,
            "a stop of all, for a team: until the last call begins": lambda: bench.stopped(team=True),
            f"a stop of all, for an execution {thinking}: until the last call begins": lambda: bench.stopped_during(
                *model
            ),
            f"a stop of all, for an execution {running}: until the last call begins": lambda: bench.stopped_during(
                *tool
            ),
            "a stop of all" + killed + " to the pause": bench.stopped_in_outage,
        }
        rows = []
        for what, case in cases.items():
            took = [case() for _ in range(1 if quick else 5)]
            say(f"{what}: {', '.join(f'{x:.2f}' for x in took)}")
            ours, beside = Spread.of(took), "from one call to the next, without a change"
            rows.append(
                Row("A2", what, "s", ours, beside, calm, bar=f"every one < {BAR:g} s", met=below(BAR, of="max"))
            )
        return rows


if __name__ == "__main__":
    main("authority", __doc__, measure)
