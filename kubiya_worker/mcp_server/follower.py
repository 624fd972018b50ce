"""Follow one execution for a call of an MCP client: tell progress, ask the person, and return where it stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from kubiya_worker.mcp_server import requests
from kubiya_worker.mcp_server.api import AgentsApi, PlaneRefused
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 2.0  # seconds between two looks
SETTLED: Final = 1.5  # seconds for which a run must wait for input before we say so: an answer is on its way meanwhile

Tell = Callable[[int, str], Awaitable[None]]
Ask = Callable[[Mapping[str, Any]], Awaitable[bool]]  # shows a request; whether it was answered


@dataclass(frozen=True)
class Standing:
    """Say where an execution stands. `waiting` are the open requests to a person."""

    execution_id: str
    status: str
    answer: str = ""
    error: str = ""
    link: str = ""
    waiting: list[Mapping[str, Any]] = field(default_factory=list)

    def structured(self) -> dict[str, Any]:
        """Return it as data for the client."""
        open_requests = [{"approval_id": one.get("id"), "asks": requests.message(one)[:500]} for one in self.waiting]
        about = {"execution_id": self.execution_id, "status": self.status, "link": self.link}
        about |= {"answer": self.answer} if self.answer else {}
        about |= {"error": self.error} if self.error else {}
        return about | ({"waiting_for": open_requests} if open_requests else {})

    def text(self) -> str:
        """Return it as a text for the client's model."""
        own = f"(execution_id {self.execution_id}, {self.status}, {self.link})"
        if self.status == ex.COMPLETED:
            return f"{self.answer or 'The run is completed and gave no text.'}\n\n{own}"
        if ex.is_final(self.status):
            return f"The run is {self.status}. {self.error or self.answer}".strip() + f"\n\n{own}"
        if self.waiting:
            asked = "\n\n".join(requests.message(one) for one in self.waiting)
            return (
                f"The run waits for a person, in the inbox at {self.link} or with `kubiya approvals ls`. Tell them; "
                f"then call follow_execution.\n\n{asked}\n\n{own}"
            )
        if self.status == ex.WAITING:
            return f"{self.answer}\n\nThe run waits for a further message: send_message.\n\n{own}".strip()
        return f"The run goes on. Call follow_execution for its answer.\n\n{own}"


def path_of(execution_id: str, *rest: str) -> str:
    return "/".join(("/executions", quote(execution_id, safe=""), *rest))


async def follow(api: AgentsApi, execution_id: str, wait: float, tell: Tell, ask: Ask | None) -> Standing:
    """Return where the execution stands once it is over, waits, or `wait` seconds are up.

    `ask` is None for a client that cannot show a request to its person. Each request is asked once. The time that a
    person takes does not count.
    """
    deadline = time.monotonic() + wait
    after, pause, settled_at, asked = 0, FIRST_PAUSE, 0.0, set[str]()
    while True:
        for event in await api.ask("GET", f"{path_of(execution_id, 'events')}?after={after}&limit=500"):
            after = max(after, int(event.get("sequence") or 0))
            if line := progress_line(event):
                await tell(after, line)
        row = await api.ask("GET", path_of(execution_id))
        status = str(row.get("status") or "").lower()
        waiting = [] if ex.is_final(status) else await _open_requests(api, execution_id)
        standing = _standing(api, row, waiting)
        mine = [one for one in waiting if one.get("you_may_answer") and str(one.get("id")) not in asked]
        if ask is not None and mine:
            began = time.monotonic()
            asked.add(str(mine[0].get("id")))
            await ask(mine[0])
            deadline, settled_at, pause = deadline + time.monotonic() - began, 0.0, FIRST_PAUSE
            continue
        now = time.monotonic()
        resting = status in (ex.WAITING, ex.PAUSED)
        settled_at = (settled_at or now) if resting else 0.0
        if ex.is_final(status) or waiting or (resting and now - settled_at >= SETTLED) or now >= deadline:
            return standing
        await asyncio.sleep(min(pause, max(deadline - now, 0.01)))
        pause = min(pause * 1.5, LONGEST_PAUSE)


async def answer(api: AgentsApi, approval: Mapping[str, Any], action: str, content: Mapping[str, Any] | None) -> bool:
    """Give a person's answer to a request; return whether there was one. Raises PlaneRefused."""
    verb, body = requests.decision(approval, action, content)
    if not verb:
        return False
    await api.ask("POST", f"/approvals/{quote(str(approval['id']), safe='')}/{verb}", body)
    return True


async def is_open(api: AgentsApi, approval_id: str) -> bool:
    try:
        approval = await api.ask("GET", f"/approvals/{quote(approval_id, safe='')}")
    except PlaneRefused:
        return False
    return str(approval.get("status")) == "pending"


def progress_line(event: Mapping[str, Any]) -> str:
    """Return a line of progress for an event that a person wants to see; "" for others."""
    kind, data = str(event.get("event_type")), event.get("data")
    about = data if isinstance(data, Mapping) else {}
    if kind in (ev.TOOL_STARTED, ev.MEMBER_TOOL_STARTED):
        who = f"{about['member_name']}: " if about.get("member_name") else ""
        return f"{who}runs {about.get('tool_name') or 'a tool'}"
    if kind == ev.APPROVAL_REQUESTED:
        return f"waits for an approval of {about.get('tool_name') or 'a tool'}"
    if kind == ev.NOTICE:
        return str(about.get("message") or about.get("text") or "")[:300]
    return "started" if kind == ev.RUN_STARTED else ""


async def _open_requests(api: AgentsApi, execution_id: str) -> list[Mapping[str, Any]]:
    approvals = await api.ask("GET", f"/approvals?status=pending&execution_id={quote(execution_id, safe='')}")
    rows = (
        next((v for v in approvals.values() if isinstance(v, list)), [])
        if isinstance(approvals, Mapping)
        else approvals
    )
    return [one for one in rows if isinstance(one, Mapping)]


def _standing(api: AgentsApi, row: Mapping[str, Any], waiting: list[Mapping[str, Any]]) -> Standing:
    execution_id = str(row.get("id") or row.get("execution_id"))
    return Standing(
        execution_id,
        str(row.get("status") or "").lower(),
        str(row.get("response") or ""),
        str(row.get("error_message") or row.get("error") or ""),
        api.link(execution_id),
        waiting,
    )
