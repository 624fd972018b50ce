"""Executions: statuses and their transitions, workflow inputs, and the state that `get_state` answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

PENDING: Final = "pending"
QUEUED: Final = "queued"
RUNNING: Final = "running"
WAITING: Final = "waiting_for_input"
PAUSED: Final = "paused"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"
TERMINATED: Final = "terminated"

STATUSES: Final = frozenset({PENDING, QUEUED, RUNNING, WAITING, PAUSED, COMPLETED, FAILED, CANCELLED, INTERRUPTED})
FINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED, INTERRUPTED, TERMINATED})


def is_final(status: str) -> bool:
    """Statuses are compared without regard to case (PROTOCOL B.7)."""
    return status.lower() in FINAL


@dataclass(frozen=True)
class Usage:
    """Tokens of one or many model calls. Fields are counts of tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def plus(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_creation_tokens + other.cache_creation_tokens,
        )

    def wire(self) -> dict[str, int]:
        return {**asdict(self), "total_tokens": self.total_tokens}

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> Usage:
        raw = raw or {}
        return cls(*(int(raw.get(name) or 0) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Budgets:
    """Limits of one execution; None is no limit. Counted in the workflow, exactly."""

    max_steps: int | None = 250  # model calls
    max_tokens: int | None = None  # input and output together
    max_seconds: float | None = None  # wall time from the start of the execution, waiting for people excluded

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Budgets:
        """From agent_config: `budgets{max_steps,max_tokens,max_seconds}`, or `max_turns` as in the published worker."""
        budgets = raw.get("budgets") if isinstance(raw.get("budgets"), Mapping) else {}
        assert isinstance(budgets, Mapping)
        steps = budgets.get("max_steps", raw.get("max_turns"))
        return cls(
            max_steps=int(steps) if steps else cls.max_steps,
            max_tokens=int(budgets["max_tokens"]) if budgets.get("max_tokens") else None,
            max_seconds=float(budgets["max_seconds"]) if budgets.get("max_seconds") else None,
        )


@dataclass(frozen=True)
class ExecutionInput:
    """What `AgentExecutionWorkflow` is started with (PROTOCOL B.3).

    `control_plane_url` and `api_key`, which the published server puts into the input, are not read: a worker trusts its
    own settings, and a key that is never taken up cannot leak.
    """

    execution_id: str
    agent_id: str
    organization_id: str
    prompt: str
    system_prompt: str | None = None
    model_id: str | None = None
    model_config: dict[str, Any] = field(default_factory=dict)
    agent_config: dict[str, Any] = field(default_factory=dict)
    mcp_servers: dict[str, Any] = field(default_factory=dict)
    user_metadata: dict[str, Any] = field(default_factory=dict)
    runtime_type: str = "default"
    initial_message_timestamp: str | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> ExecutionInput:
        """Unknown fields are ignored, null objects become empty ones. ValueError names what is missing."""
        missing = [name for name in ("execution_id", "agent_id", "prompt") if not raw.get(name)]
        if missing:
            raise ValueError(f"the execution's input lacks {', '.join(missing)}")
        return cls(
            execution_id=str(raw["execution_id"]),
            agent_id=str(raw["agent_id"]),
            organization_id=str(raw.get("organization_id") or ""),
            prompt=str(raw["prompt"]),
            system_prompt=raw.get("system_prompt"),
            model_id=raw.get("model_id"),
            model_config=dict(raw.get("model_config") or {}),
            agent_config=dict(raw.get("agent_config") or {}),
            mcp_servers=dict(raw.get("mcp_servers") or {}),
            user_metadata=dict(raw.get("user_metadata") or {}),
            runtime_type=str(raw.get("runtime_type") or "default"),
            initial_message_timestamp=raw.get("initial_message_timestamp"),
        )


@dataclass
class ExecutionState:
    """The answer of the query `get_state`; the server decodes it by these names."""

    status: str = PENDING
    messages: list[dict[str, Any]] = field(default_factory=list)
    current_response: str = ""
    error_message: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    is_waiting_for_input: bool = False
    should_complete: bool = False
    is_paused: bool = False
