"""The tools of an execution are made again while the control plane does not give all that they need."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from kubiya_worker.activities.authority import Authority
from kubiya_worker.activities.execution_memory import ExecutionMemory
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.step_resources import toolset_of
from kubiya_worker.control_plane.errors import Unreachable
from kubiya_worker.protocol import calls
from kubiya_worker.protocol.tools import ToolSpec

CALL = ToolSpec(
    name="mcp__nasty__greet", description="Greet.", parameters={"type": "object"}, source="mcp", server="nasty"
)


class Plane:
    """A control plane whose first answer about the environment does not come."""

    features: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.asked, self.contexts = 0, self

    def environment(self, *_: Any) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            raise Unreachable("away")
        return {"env_vars": {}, "mcp_servers": {"nasty": {"command": "true"}}}


async def authority(_: Any) -> Authority:
    return Authority([])


def test_a_server_that_could_not_be_read_is_not_missing_for_ever(tmp_path: Path) -> None:
    plane = Plane()
    about = {"control_plane": plane, "authorities": SimpleNamespace(of=authority), "mcp": None, "worker_id": "w"}
    about["played_tools"] = lambda: None
    runtime = cast(Runtime, SimpleNamespace(workspace_root=tmp_path, memory=ExecutionMemory(), **about))
    context = calls.Context(agent_id="a", tools=[CALL.wire()])
    assert asyncio.run(toolset_of(runtime, "e1", context)).get(CALL.name) is None
    assert asyncio.run(toolset_of(runtime, "e1", context)).get(CALL.name) is not None
    assert asyncio.run(toolset_of(runtime, "e1", context)).get(CALL.name) is not None
    assert plane.asked == 2
