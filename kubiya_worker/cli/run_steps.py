"""This module reads the steps of an execution out of its events: model calls, tools, approvals, messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from kubiya_worker.cli.moments import between
from kubiya_worker.cli.progress import error_text
from kubiya_worker.protocol import events as ev

MODEL: Final = "model"
TOOL: Final = "tool"
APPROVAL: Final = "approval"
PERSON: Final = "person"
NOTICE: Final = "notice"
ERROR: Final = "error"

_PLAIN: Final = {member: plain for plain, member in ev.MEMBER_TYPES.items()}


@dataclass
class RunStep:
    """A step of an execution. `seconds` is None while it lasts, or where nobody measured it."""

    kind: str
    name: str
    at: str  # when it began, as the event says
    seconds: float | None = None
    outcome: str = ""
    member: str = ""  # the member of a team that did it
    tokens: int = 0
    cost_usd: float = 0.0
    input: Any = None
    output: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    number: int = 0  # of its first event, by which it is named; 0 where the control plane numbers none

    def wire(self) -> dict[str, Any]:
        """Return the fields that say something."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, 0, {}, [])}


def steps_of(events: Iterable[Mapping[str, Any]]) -> list[RunStep]:
    """Return the steps in the order in which they began; `events` are {event_type, timestamp, data}, oldest first."""
    reader = _Reader()
    for event in events:
        kind = str(event.get("event_type"))
        reader.number = int(event.get("sequence") or 0)
        reader.take(_PLAIN.get(kind, kind), str(event.get("timestamp") or ""), event.get("data") or {})
    return reader.steps


class _Reader:
    def __init__(self) -> None:
        self.steps: list[RunStep] = []
        self.number = 0  # of the event that is read
        self._tools: dict[str, RunStep] = {}
        self._approvals: dict[str, RunStep] = {}
        self._free_since: dict[str, str] = {}  # by member: since when only its model can be at work
        self._seen: set[str] = set()

    def take(self, kind: str, at: str, data: Mapping[str, Any]) -> None:
        member = str(data.get("member_name") or "") if data.get("source") == "team_member" else ""
        match kind:
            case ev.RUN_STARTED:
                self._free_since[member] = at
            case ev.MESSAGE:
                self._message(at, data, member)
            case ev.TOOL_STARTED:
                self._tool_started(at, data, member)
            case ev.TOOL_COMPLETED:
                self._tool_completed(at, data, member)
            case ev.APPROVAL_REQUESTED:
                name, key = str(data.get("tool_name")), str(data.get("approval_id"))
                self._approvals[key] = self._add(
                    RunStep(APPROVAL, name, at, member=member, input=data.get("tool_args"))
                )
            case ev.APPROVAL_RESOLVED:
                self._resolved(at, data)
            case ev.NOTICE:
                text = str(data.get("message") or "")
                self._add(RunStep(NOTICE, str(data.get("kind") or NOTICE), at, output=text, member=member))
            case ev.ERROR:
                self._add(RunStep(ERROR, ERROR, at, output=error_text(dict(data))))

    def _add(self, step: RunStep) -> RunStep:
        step.number = self.number
        self.steps.append(step)
        return step

    def _message(self, at: str, data: Mapping[str, Any], member: str) -> None:
        key, role = str(data.get("message_id")), str(data.get("role") or "assistant")
        if key in self._seen or role == "tool":
            return
        self._seen.add(key)
        text = str(data.get("content") or "")
        if role != "assistant" or data.get("made_by_team"):
            name = str(data.get("user_name") or role)
            self._add(RunStep(PERSON if role == "user" else NOTICE, name, at, output=text, member=member))
            self._free_since[member] = at
            return
        usage = data.get("usage") or {}
        began = self._free_since.get(member) or at
        step = RunStep(MODEL, str(data.get("model") or "model"), began, between(began, at), member=member, output=text)
        step.tokens = int(usage.get("total_tokens") or 0) or sum(
            int(usage.get(name) or 0) for name in ("input_tokens", "output_tokens")
        )
        step.cost_usd = float(usage.get("cost_usd") or 0)
        step.outcome = f"cut: {data['cut']}" if data.get("cut") else ""
        step.detail = {"usage": dict(usage)} if usage else {}
        self._add(step)
        self._free_since[member] = at

    def _tool_started(self, at: str, data: Mapping[str, Any], member: str) -> None:
        key = str(data.get("tool_execution_id"))
        if key not in self._tools:
            name = str(data.get("delegate") or data.get("tool_name"))
            self._tools[key] = self._add(RunStep(TOOL, name, at, member=member, input=data.get("tool_arguments")))

    def _tool_completed(self, at: str, data: Mapping[str, Any], member: str) -> None:
        self._tool_started(at, data, member)  # one that was not allowed to begin has no start
        step = self._tools[str(data.get("tool_execution_id"))]
        measured = data.get("duration_seconds")
        step.seconds = float(measured) if isinstance(measured, int | float) else between(step.at, at)
        step.outcome = str(data.get("outcome") or data.get("status") or "")
        step.output = str(data.get("tool_error") or data.get("tool_output") or "")
        if data.get("enforcement"):
            step.detail = {"enforcement": data["enforcement"]}
        self._free_since[member] = at

    def _resolved(self, at: str, data: Mapping[str, Any]) -> None:
        step = self._approvals.get(str(data.get("approval_id")))
        if step is None:
            step = self._add(RunStep(APPROVAL, str(data.get("tool_name")), at))
        step.seconds, step.outcome = between(step.at, at), str(data.get("status") or "")
        by = data.get("approved_by_name") or data.get("approved_by_email")
        step.detail = {"by": by} if by else {}
        step.output = str(data.get("rejection_reason") or "")
        self._free_since[step.member] = at
