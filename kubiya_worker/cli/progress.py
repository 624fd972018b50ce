"""The state of an execution, computed from its events. Pure: the same events give the same state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kubiya_worker.cli.stream import Frame
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex


def error_text(data: dict[str, Any]) -> str:
    """Return the message of an `error` event, from the worker or the server (docs/protocol.md#c2)."""
    details = data.get("details")
    inner = details.get("error_message") if isinstance(details, dict) else None
    return str(inner or data.get("error") or data.get("message") or "unknown error")


@dataclass
class ExecutionProgress:
    """The state so far. `answer` is the last text of the assistant that asked for no tool."""

    status: str = ex.PENDING
    answer: str = ""
    error: str = ""
    model: str = ""
    model_label: str = ""
    agent: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    tool_calls: int = 0
    turn_over: bool = False  # the assistant has answered and nobody has said anything since
    started: bool = False
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)  # approvals that nobody has answered, by id
    _messages: set[str] = field(default_factory=set)
    _tools: set[str] = field(default_factory=set)

    def apply(self, frame: Frame) -> None:
        data = frame.data
        match frame.event_type:
            case ev.METADATA | ev.RUN_STARTED:
                self.started = self.started or frame.event_type == ev.RUN_STARTED
                self.agent = str(data.get("agent_name") or self.agent)
                self._model(data)
            case ev.MESSAGE:
                self._message(data)
            case ev.MEMBER_MESSAGE_COMPLETE:
                self._count(data)
            case ev.TOOL_STARTED | ev.MEMBER_TOOL_STARTED:
                self._tools.add(str(data.get("tool_execution_id")))
                self.tool_calls = len(self._tools)
            case ev.STATUS:
                self.status = str(data.get("status") or self.status).lower()
            case ev.APPROVAL_REQUESTED:
                self.pending[str(data.get("approval_id"))] = data
            case ev.APPROVAL_RESOLVED:
                self.pending.pop(str(data.get("approval_id")), None)
            case ev.ERROR:
                self.error = error_text(data)
                if data.get("status"):
                    self.status = str(data["status"]).lower()
            case ev.DONE:
                self.finish(data)

    def finish(self, data: dict[str, Any]) -> None:
        """Take the final state from a `done` event, or from the execution itself."""
        self.status = str(data.get("status") or ex.COMPLETED).lower()
        self.answer = str(data.get("response") or self.answer)
        self.error = str(data.get("error_message") or data.get("error") or self.error)
        self.usage = dict(data.get("usage") or self.usage)
        self.pending.clear()

    @property
    def over(self) -> bool:
        return ex.is_final(self.status)

    @property
    def wants_input(self) -> bool:
        """Return whether it waits for a person's next message.

        Waiting for an approval is different: then the model's last message asks for a tool.
        """
        return self.status == ex.WAITING and self.turn_over and not self.pending

    def _model(self, data: dict[str, Any]) -> None:
        self.model = str(data.get("model") or self.model)
        self.model_label = str(data.get("model_label") or data.get("label") or self.model_label)

    def _message(self, data: dict[str, Any]) -> None:
        if data.get("role") == "user":
            self.turn_over = False
        if data.get("role") != "assistant":
            return
        self._count(data)
        self._model(data)
        self.turn_over = not data.get("tool_calls")
        if self.turn_over and data.get("content"):
            self.answer = str(data["content"])

    def _count(self, data: dict[str, Any]) -> None:
        """Count a message as a step when a model made it; a team can add messages in its leader's name."""
        message_id = str(data.get("message_id"))
        if data.get("role", "assistant") == "assistant" and not data.get("made_by_team"):
            self._messages.add(message_id)
            self.steps = len(self._messages)

    @property
    def tokens(self) -> int:
        total = self.usage.get("total_tokens")
        return int(total or int(self.usage.get("input_tokens") or 0) + int(self.usage.get("output_tokens") or 0))
