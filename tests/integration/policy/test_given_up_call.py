"""A call whose worker stood still too long was given up by Temporal: it publishes no end of its own.

The workflow tells such a call as "unknown", or another attempt tells its end. A "failed" of the first attempt would
stand in the stream beside it, and would be wrong: the tool may have done its work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities.tool import ToolActivities
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.tools.base import ToolContext, ToolResult, Toolset
from tests.integration.policy.test_guarded_tools import SPECS, Bench
from tests.support.enforcer import EnforcerService
from tests.support.scripted_plane import ScriptedPlane


class Hanging:
    """A tool that says when it began, and never ends."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.began = asyncio.Event()

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        self.began.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
def plane() -> Iterator[ScriptedPlane]:
    with ScriptedPlane() as running:
        yield running


@pytest.mark.parametrize(
    ("details", "told"),
    [
        (ActivityCancellationDetails(timed_out=True), ["tool_started"]),
        (ActivityCancellationDetails(not_found=True), ["tool_started"]),
        (ActivityCancellationDetails(cancel_requested=True), ["tool_started", "tool_completed"]),
    ],
    ids=["timed out", "not known any more", "cancelled by a person"],
)
async def test_only_a_call_that_somebody_cancelled_tells_its_end(
    plane: ScriptedPlane, tmp_path: Path, details: ActivityCancellationDetails, told: list[str]
) -> None:
    with EnforcerService() as service:
        bench = Bench(plane, tmp_path, service.url, 30)
        try:
            bench.context()
            spec = next(spec for spec in SPECS if spec.name == "shell")
            tool = Hanging(spec)
            authority = await bench.runtime.authorities.of(
                bench.runtime.memory.contexts.get("e-1") or calls.Context("a-1")
            )
            bench.runtime.memory.toolsets.put("e-1", ((0, authority.version), Toolset([tool])))
            asked = calls.ToolInput("e-1", "t-1", "shell", "m-1", 1, arguments=m.canonical({"command": "ls"}))
            environment = ActivityEnvironment()
            call = asyncio.ensure_future(environment.run(ToolActivities(bench.runtime).call_tool, asked))
            await asyncio.wait_for(tool.began.wait(), 60)
            environment.cancel(details)
            with pytest.raises(asyncio.CancelledError):
                await call
        finally:
            await bench.close()
    assert [event["event_type"] for event in bench.events()] == told
