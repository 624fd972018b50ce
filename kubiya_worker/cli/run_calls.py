"""This module reads out of an execution's events what its models answered and what became of their calls. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import team

_PLAIN: Final = {member: plain for plain, member in ev.MEMBER_TYPES.items()}
NOT_RUN: Final = ("denied", "expired")


@dataclass
class CallMade:
    """A call of a model: its arguments as they were judged and run, its outcome, and what the model read of it."""

    key: str
    agent: str
    tool: str
    arguments: Any
    outcome: str = ""
    output: str = ""
    error: str = ""
    delegate: bool = False  # another agent did it
    began: bool = False

    @property
    def told(self) -> str:
        """Return the outcome in the words of a test. An unknown one counts as failed, as no more is known of it."""
        return "failed" if self.outcome == "unknown" else self.outcome


@dataclass
class AgentRun:
    """The answers of one agent's model in one run: that of the execution, or of a member."""

    agent: str
    task: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)  # {text, tools, finish_reason}


class RunReading:
    """`runs` in the order in which they began, `calls` in the order in which their models made them."""

    def __init__(self, agent: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Read events {event_type, data}, oldest first; `agent` is the name of the execution's agent or team."""
        self._agent = agent
        self._runs: dict[str, AgentRun] = {}
        self._calls: dict[str, CallMade] = {}
        self._messages: set[tuple[str, str]] = set()
        self.prompts: list[str] = []
        self.models: list[str] = []
        for event in events:
            kind = str(event.get("event_type"))
            self._take(_PLAIN.get(kind, kind), event.get("data") or {})

    @property
    def runs(self) -> list[AgentRun]:
        return list(self._runs.values())

    @property
    def calls(self) -> list[CallMade]:
        return list(self._calls.values())

    def _take(self, kind: str, data: Mapping[str, Any]) -> None:
        of_member = data.get("source") == "team_member"
        agent = str(data.get("member_name")) if of_member else self._agent
        run = str(data.get("member_execution_id") or "") if of_member else ""
        if kind == ev.MESSAGE:
            self._message(agent, run, data)
        elif kind in (ev.TOOL_STARTED, ev.TOOL_COMPLETED):
            key = str(data.get("tool_execution_id"))
            call = self._calls.setdefault(key, CallMade(key, agent, str(data.get("tool_name")), {}))
            call.delegate = call.delegate or bool(data.get("delegate"))
            if kind == ev.TOOL_STARTED:
                call.arguments, call.began = data.get("tool_arguments"), True
                return
            call.outcome = str(data.get("outcome") or data.get("status") or "")
            call.output, call.error = str(data.get("tool_output") or ""), str(data.get("tool_error") or "")

    def _message(self, agent: str, run: str, data: Mapping[str, Any]) -> None:
        key, role = str(data.get("message_id")), str(data.get("role") or "assistant")
        if (run, key) in self._messages or role not in ("user", "assistant"):
            return
        self._messages.add((run, key))
        text = str(data.get("content") or "")
        if role == "user":
            if not run and not data.get("member"):
                self.prompts.append(text)
            return
        if run not in self._runs:
            self._runs[run] = AgentRun(agent, self._task(data) if run else (self.prompts or [""])[0])
        asked = [each for each in data.get("tool_calls") or () if isinstance(each, Mapping)]
        answer: dict[str, Any] = {"text": text} if text else {}
        if asked:
            answer["tools"] = [{"name": str(each["name"]), "arguments": _parsed(each)} for each in asked]
        if data.get("cut"):
            answer["finish_reason"] = str(data["cut"])
        self._runs[run].answers.append(answer)
        if data.get("model") and data["model"] not in self.models:
            self.models.append(str(data["model"]))
        for each in asked:
            call_key = f"{run}:{each['id']}" if run else str(each["id"])
            self._calls.setdefault(call_key, CallMade(call_key, agent, str(each["name"]), _parsed(each)))

    def _task(self, data: Mapping[str, Any]) -> str:
        parent = self._calls.get(str(data.get("parent_tool_execution_id")))
        return team.task_text(parent.arguments) if parent and isinstance(parent.arguments, Mapping) else ""


def _parsed(call: Mapping[str, Any]) -> Any:
    """Return the arguments as an object, or as the text that they are when they are none."""
    arguments = call.get("arguments")
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments
