"""This module puts recorded results in the place of tools, for a run that is played again (kubiya_worker/recording.py).

A tool keeps its spec, so that rules, approvals and the check of arguments are those of a real call; only its run is
replaced. Questions to persons and to other agents stay as they are: their answers come from elsewhere.
"""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.recording import Recording
from kubiya_worker.tools.agent_communication import Communication
from kubiya_worker.tools.base import ExpandingTool, Tool, ToolContext, ToolResult, Toolset

ANYTHING: Final = {"type": "object", "properties": {}, "additionalProperties": True}


class RecordedTool:
    """A tool that returns what it returned when the run was recorded, and an error for a call that was not made."""

    def __init__(self, spec: ToolSpec, recording: Recording, agent: str) -> None:
        self.spec = spec
        self._recording, self._agent = recording, agent

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        result = self._recording.result(self._agent, self.spec.name, arguments)
        if result is None:
            text = f"No result of this call of {self.spec.name} was recorded, so nothing was run"
            return ToolResult(f"{text}.", error=text)
        return ToolResult(result.output, error=result.error)


class RecordedExpandingTool(RecordedTool):
    """A recorded tool whose arguments hold names for several things, which it still puts in their place."""

    def __init__(self, tool: ExpandingTool, spec: ToolSpec, recording: Recording, agent: str) -> None:
        super().__init__(spec, recording, agent)
        self.expanded = tool.expanded


def replaced(tools: Toolset, recording: Recording, agent: str) -> Toolset:
    """Return the tools with recorded results, and those that only the recording knows.

    The latter are tools of MCP servers, and of skills that this host does not have.
    """
    played: list[Tool] = []
    for spec in tools.specs:
        tool = tools.get(spec.name)
        assert tool is not None
        if spec.asks or isinstance(tool, Communication):
            played.append(tool)
        elif isinstance(tool, ExpandingTool):
            played.append(RecordedExpandingTool(tool, spec, recording, agent))
        else:
            played.append(RecordedTool(spec, recording, agent))
    known = {spec.name for spec in tools.specs}
    for name in recording.tools_of(agent):
        if name not in known:
            about = "A tool that was there when the run was recorded; its schema was not kept."
            spec = ToolSpec(name, about, ANYTHING, taints=True, remote=True, effects=("write", "exec", "egress"))
            played.append(RecordedTool(spec, recording, agent))
    return Toolset(played, tools.skills)
