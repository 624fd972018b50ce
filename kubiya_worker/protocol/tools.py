"""What the model is told of a tool, and what the policy needs to know of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

RISKS: Final = ("low", "medium", "high", "critical")


@dataclass(frozen=True)
class ToolSpec:
    """One tool of an execution. `parameters` is the JSON schema of its arguments (type object).

    `idempotent` tools may run again when their worker died; others run at most once. `timeout` is in seconds.
    `risk` is one of RISKS; `category` one of command_execution, file_operation, file_search, network, general.
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    idempotent: bool = False
    risk: str = "low"
    category: str = "general"
    source: str = "skill"  # skill | mcp | builtin | custom
    timeout: float = 60.0

    def wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> ToolSpec:
        return cls(**{name: raw[name] for name in cls.__dataclass_fields__ if name in raw})
