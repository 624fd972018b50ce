"""This module has executions: statuses and their transitions, workflow inputs, and the answer of `get_state`."""

# No postponed annotations here: Temporal's converter resolves a dataclass's types again for each payload, and
# annotations as text cost it five times as much.

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from kubiya_worker.protocol.sequel import Sequel

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
    """Return whether a status is final, ignoring upper and lower case (docs/protocol.md#b7)."""
    return status.lower() in FINAL


@dataclass(frozen=True)
class Usage:
    """The tokens (`input_tokens` with cached ones) and the price of one or many model calls.

    `cost_nanos`, in 1e-9 USD, adds up exactly; on the wire it is `cost_usd`, which is left out if no price is known.
    `saved_nanos` is how much more it would have cost without the prompt cache; below zero while it was only written.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    cost_nanos: int = 0
    saved_nanos: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def plus(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_creation_tokens + other.cache_creation_tokens,
            self.cost_nanos + other.cost_nanos,
            self.saved_nanos + other.saved_nanos,
        )

    def minus(self, earlier: "Usage") -> "Usage":
        return Usage(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))

    def wire(self) -> dict[str, Any]:
        counts = {name: value for name, value in asdict(self).items() if not name.endswith("_nanos")}
        cost = {"cost_usd": self.cost_nanos / 1e9} if self.cost_nanos else {}
        saved = {"saved_usd": self.saved_nanos / 1e9} if self.saved_nanos else {}
        return {**counts, "total_tokens": self.total_tokens, **cost, **saved}

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> "Usage":
        raw = raw or {}
        counts = {name: int(raw.get(name) or 0) for name in cls.__dataclass_fields__ if not name.endswith("_nanos")}
        dollars = {name: round(float(raw.get(f"{name}_usd") or 0) * 1e9) for name in ("cost", "saved")}
        return cls(**counts, cost_nanos=dollars["cost"], saved_nanos=dollars["saved"])


@dataclass(frozen=True)
class Budgets:
    """The limits of one execution, counted exactly in the workflow; None means no limit."""

    max_steps: int | None = 250  # model calls
    max_tokens: int | None = None  # input and output together
    max_seconds: float | None = None  # wall time from the start of the execution, waiting for people excluded
    max_depth: int = 3  # how deep teams may be nested: 1 is a team of agents
    max_cost_usd: float | None = None
    max_same_failures: int = 5  # failures of a tool call with the same arguments and the same result
    on_limit: Literal["end", "ask"] = "end"  # the execution; or ask a person, who can raise the limit

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> "Budgets":
        """Return the budgets of agent_config: `budgets{max_steps, …}`, or the published `max_turns`.

        Raise ValueError, with the problem, for an unknown or invalid limit; null means the default.
        """
        budgets = raw.get("budgets")
        if not isinstance(budgets, Mapping | None):
            raise ValueError(f'budgets is an object, such as {{"max_steps": 40}}, not {_short_repr(budgets)}')
        stated = {name: value for name, value in (budgets or {}).items() if value is not None}
        for name in stated:
            if name not in cls.__dataclass_fields__:
                raise ValueError(f"budgets has no {_short_repr(name)}; it has {', '.join(cls.__dataclass_fields__)}")
        limits: dict[str, Any] = {
            name: _limit(f"budgets.{name}", stated[name], whole=name not in ("max_seconds", "max_cost_usd"))
            for name in stated
            if name != "on_limit"
        }
        if "max_steps" not in limits and raw.get("max_turns") is not None:
            limits["max_steps"] = _limit("max_turns", raw["max_turns"], whole=True)
        return cls(**limits, on_limit=_on_limit(stated.get("on_limit")))

    @classmethod
    def carried(cls, raw: Mapping[str, Any]) -> "Budgets":
        """Return the budgets for workflow code, which must accept every recorded history and so refuses nothing.

        `parse` has already refused invalid values, except for executions from before it did so.
        """
        budgets = raw.get("budgets") if isinstance(raw.get("budgets"), Mapping) else {}
        assert isinstance(budgets, Mapping)
        steps = budgets.get("max_steps", raw.get("max_turns"))
        try:
            return cls(
                max_steps=int(steps) if steps else cls.max_steps,
                max_tokens=int(budgets["max_tokens"]) if budgets.get("max_tokens") else None,
                max_seconds=float(budgets["max_seconds"]) if budgets.get("max_seconds") else None,
                max_depth=int(budgets["max_depth"]) if budgets.get("max_depth") else cls.max_depth,
                max_cost_usd=float(budgets["max_cost_usd"]) if budgets.get("max_cost_usd") else None,
                max_same_failures=int(budgets.get("max_same_failures") or cls.max_same_failures),
                on_limit=_on_limit(budgets.get("on_limit")),
            )
        except (ValueError, TypeError, OverflowError):
            return cls()

    def raised(self, limits: Mapping[str, Any]) -> "Budgets":
        """Return the budgets with limits that a person has set. Unknown names and values not above 0 are ignored."""
        good: dict[str, Any] = {
            name: RAISABLE[name](value)
            for name, value in limits.items()
            if name in RAISABLE and isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        }
        return replace(self, **good)


# The limits that use up, and the types of their figures.
RAISABLE: Final[Mapping[str, type[int] | type[float]]] = {
    **{"max_steps": int, "max_tokens": int},
    **{"max_cost_usd": float, "max_seconds": float},
}


def _limit(name: str, value: Any, *, whole: bool) -> int | float:
    """Return a number above 0, which may also be given as text (`"40"`); raise ValueError."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf or (whole and number != int(number)):
        raise ValueError(f"{name} is a {'whole ' if whole else ''}number above 0, not {_short_repr(value)}")
    return int(number) if whole else number


def _short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _on_limit(given: Any) -> Literal["end", "ask"]:
    if given not in (None, "end", "ask"):
        raise ValueError(f"budgets.on_limit is end or ask, not {_short_repr(given)}")
    return "ask" if given == "ask" else "end"


@dataclass(frozen=True)
class Member:
    """The team that a member's run belongs to, and where the run shows.

    The control plane gets all that the run tells under the id `stream`.
    """

    stream: str  # the execution of the whole team: its row, its events, its approvals
    name: str
    path: list[str]  # names from the whole team down to this run, such as ["triage", "logs"]
    parent_message_id: str  # the leader's message that asked for it
    parent_tool_execution_id: str  # the leader's call, by its id on the stream
    leader: str  # the leader's workflow id: it is told of questions to people
    root: str  # the whole team's workflow id: it keeps the budget
    depth: int = 1
    max_depth: int = 3
    permitted: int = 0  # model calls that the budget has granted before the start
    tainted: bool = False  # whether the leader had read text of others
    taint: str = "off"  # the leader's mode; a member's is never less strict
    priced: bool = False  # whether the team has a limit of cost: a model without a price is refused
    quiet: bool = False  # whether its text is shown only when it is complete
    above: int = 0  # the number of executions above the whole team's, each started by the one before
    behind: list[str] = field(default_factory=list)  # events of the stream that must come before the run's first
    room: int | None = None  # events that it may send, where their number is limited; see event_limit.py
    turn: int = 0  # the turn of the whole team, and the span above its execution: they name the trace (tracing/ids.py)
    traceparent: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> "Member | None":
        return cls(**{name: raw[name] for name in cls.__dataclass_fields__ if name in raw}) if raw else None

    def event_fields(self) -> dict[str, Any]:
        """Return the fields that each of the member's events has."""
        return {
            "member_name": self.name,
            "member_path": self.path,
            "parent_message_id": self.parent_message_id,
            "parent_tool_execution_id": self.parent_tool_execution_id,
        }


@dataclass(frozen=True)
class ExecutionInput:
    """The input of an agent's, a team's or a dynamic execution (docs/protocol.md#b3).

    `agent_id` is the team's id for a team, whose `team_config` (or `config`) is `agent_config` here. Our own fields:
    `member` says that it is a member's run, and `definition` is the agent itself, if no control plane knows it.
    `control_plane_url` and `api_key`, which the published server puts into the input, are not read: a worker trusts its
    own settings, and a key that is never read cannot leak.
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
    kind: str = "agent"  # or "team"
    member: Member | None = None
    definition: dict[str, Any] | None = None
    sequel: Sequel = field(default_factory=Sequel)  # ours

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> "ExecutionInput":
        """Return the input without unknown fields, null objects as empty ones.

        Raise ValueError with the missing field.
        """
        kind = "team" if raw.get("team_id") and not raw.get("agent_id") else "agent"
        config = raw.get("agent_config") if kind == "agent" else raw.get("team_config") or raw.get("config")
        for name in ("system_prompt", "model_id"):
            if not isinstance(raw.get(name), (str, type(None))):
                raise ValueError(f"{name} of the execution's input is not a text")
        missing = [name for name in ("execution_id", f"{kind}_id", "prompt") if not raw.get(name)]
        if missing:
            raise ValueError(f"the execution's input lacks {', '.join(missing)}")
        return cls(
            execution_id=str(raw["execution_id"]),
            agent_id=str(raw[f"{kind}_id"]),
            organization_id=str(raw.get("organization_id") or ""),
            prompt=str(raw["prompt"]),
            system_prompt=raw.get("system_prompt"),
            model_id=raw.get("model_id"),
            model_config=dict(raw.get("model_config") or {}),
            agent_config=dict(config or {}),
            mcp_servers=dict(raw.get("mcp_servers") or {}),
            user_metadata=dict(raw.get("user_metadata") or {}),
            runtime_type=str(raw.get("runtime_type") or "default"),
            initial_message_timestamp=raw.get("initial_message_timestamp"),
            kind=kind,
            member=Member.parse(raw.get("member")),
            definition=raw.get("definition"),
            sequel=Sequel.parse(raw.get("sequel")),
        )


@dataclass
class ExecutionState:
    """The answer of the query `get_state`; the server decodes it by these field names."""

    status: str = PENDING
    messages: list[dict[str, Any]] = field(default_factory=list)
    current_response: str = ""
    error_message: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    is_waiting_for_input: bool = False
    should_complete: bool = False
    is_paused: bool = False
