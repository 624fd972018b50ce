"""`TeamExecutionWorkflow` runs the turns of a team in each of its modes, which protocol/team.py describes."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from temporalio import workflow

from kubiya_worker.protocol import events, names, team
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.leader import Leader
from kubiya_worker.workflows.state import TurnFailed


class TeamLoop(Leader):
    CARRIED: ClassVar[tuple[str, ...]] = (*Leader.CARRIED, "asked_in", "line")

    def __init__(self) -> None:
        super().__init__()
        self._asked_in = 0  # the last turn in which all members were asked (collaborate)
        self._line: dict[str, Any] = {}  # how far a sequential turn has come: {turn, next, task, before}

    async def _work(self) -> str:
        assert self._context is not None
        if not self._refusal and self._context.members:
            if self._context.mode == team.SEQUENTIAL:
                return await self._work_in_line()
            if self._context.mode == team.COLLABORATE and self._asked_in != self._turn:
                await self._ask_all()
        return await super()._work()

    async def _ask_all(self) -> None:
        assert self._context is not None
        await self._renew()
        await workflow.wait_condition(lambda: not self._paused or self._done)
        if self._done:
            return
        task = self._take_task()
        self._asked_in = self._turn
        message = self._say("", [self._call(member, task) for member in self._context.members])
        await self._call_tools(message["tool_calls"], message)

    async def _work_in_line(self) -> str:
        """Run one member after the other. The last one that succeeds gives the answer."""
        assert self._context is not None
        if self._line.get("turn") != self._turn:
            self._line = {"turn": self._turn, "next": 0, "task": "", "before": []}
        line = self._line
        while line["next"] < len(self._context.members):
            await self._renew()
            await workflow.wait_condition(lambda: not self._paused or self._done)
            if self._done:
                return "stop"
            line["task"] = "\n\n".join(filter(None, (line["task"], self._take_task())))
            member = self._context.members[line["next"]]
            before = "\n\n".join(f"{name} ({status}):\n{text}" for name, status, text in line["before"])
            message = self._say("", [self._call(member, line["task"], before)])
            result = (await self._call_tools(message["tool_calls"], message))[0]
            line["before"].append([member["name"], result["status"], result["content"]])
            line["next"] += 1
        good = [text for _, status, text in line["before"] if status == m.TOOL_SUCCESS]
        if not good:
            raise TurnFailed(f"No member could do it. {line['before'][-1][2]}", "MembersFailed")
        self._say(good[-1])
        return "stop"

    def _answered(self, results: list[m.Message]) -> bool:
        """Return True in the mode `route` once a member has answered: its answer is the team's."""
        assert self._context is not None
        if self._context.mode != team.ROUTE or self._conversation.inbox:
            return False
        tools = {member["tool"] for member in self._context.members}
        for result in results:
            if result["tool_name"] in tools and result["status"] == m.TOOL_SUCCESS:
                self._say(result["content"])
                return True
        return False

    def _take_task(self) -> str:
        """Return what people have said since the last turn."""
        count = self._conversation.take_inbox()
        return "\n\n".join(str(x["content"]) for x in self._conversation.messages[-count:]) if count else ""

    def _call(self, member: dict[str, Any], task: str, context: str = "") -> m.ToolCall:
        arguments = {"task": task, **({"context": context} if context else {})}
        call_id = f"{member['tool']}_{self._turn}_{self._step + 1}"
        return {"id": call_id, "name": member["tool"], "arguments": json.dumps(arguments, ensure_ascii=False)}

    def _say(self, text: str, tool_calls: list[m.ToolCall] | None = None) -> m.Message:
        """Add a message of the leader that no model made, and return it."""
        assert self._context is not None
        self._step += 1
        now = workflow.now().isoformat()
        message: m.Message = {
            "role": "assistant",
            "content": text,
            "message_id": self._text_id(),
            "timestamp": now,
            **({"tool_calls": tool_calls} if tool_calls else {}),
        }
        self._conversation.append(message)
        shown = {**message, "made_by_team": True}
        self._keep(events.event(f"message:{message['message_id']}", events.MESSAGE, shown, now))
        return message


@workflow.defn(name=names.TEAM_WORKFLOW)
class TeamExecutionWorkflow(TeamLoop):
    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        return await self.execute(raw)
