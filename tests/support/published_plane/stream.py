"""The stream of one execution, as a client of the published server gets it (docs/protocol.md#b5, #c1 to C.3)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse
from temporalio.client import WorkflowHandle, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from tests.support.published_plane.world import history_id, micros, workflow_id

if TYPE_CHECKING:
    from tests.support.published_plane.edge import Object
    from tests.support.published_plane.world import World

HISTORY: Final = 200  # messages
SAME_TEXT: Final = 200  # characters
SAME_TIME: Final = 5.0  # seconds
TOOL_DATA: Final = ("tool_name", "tool_input", "tool_output", "tool_error")
FIELDS: Final = [
    "role",
    "content",
    "timestamp",
    "message_id",
    "user_id",
    "user_name",
    "user_email",
    "user_avatar",
    "tool_name",
    "tool_execution_id",
    "tool_input",
    "tool_output",
    "tool_error",
    "tool_status",
    "metadata",
    "workflow_name",
    "workflow_status",
]


def stream(world: World, execution: Object) -> StreamingResponse:
    return StreamingResponse(_Stream(world, execution).frames(), media_type="text/event-stream")


def history(world: World, execution_id: str, messages: list[Object]) -> list[Object]:
    """A session's messages as a client gets them: sorted, without doubles, with the ids of C.2."""
    found: list[Object] = []
    ids: set[str] = set()
    texts: dict[str, float] = {}
    for message in sorted(messages, key=lambda m: str(m.get("timestamp") or "")):
        shown = {name: message[name] for name in FIELDS if message.get(name) is not None}
        if not message.get("content") and not any(message.get(name) for name in TOOL_DATA):
            continue
        if world.holds("stream.history-ids"):
            shown["message_id"] = history_id(execution_id, message)
        if world.holds("stream.history-doubles") and (shown["message_id"] in ids or _repeated(message, texts)):
            continue
        ids.add(str(shown.get("message_id")))
        found.append(shown)
    return found


def _repeated(message: Object, texts: dict[str, float]) -> bool:
    """Return True when an assistant sent the same first 200 characters less than five seconds before."""
    if message.get("role") != "assistant" or not message.get("content"):
        return False
    text = " ".join(str(message["content"]).split())[:SAME_TEXT]
    try:
        at = datetime.fromisoformat(str(message.get("timestamp"))).timestamp()
    except ValueError:
        return False
    before, texts[text] = texts.get(text), at
    return before is not None and at - before < SAME_TIME


class _Stream:
    def __init__(self, world: World, execution: Object) -> None:
        self.world, self.execution, self.id = world, execution, str(execution["id"])
        self.count = 0
        self.ids: set[str] = set()
        self.read = 0  # events of the list that were sent
        self.told = 0  # messages of the history or of get_state that were sent
        self.status = ""
        self.missed = 0  # queries in a row that had no answer
        self.degraded = False

    def frame(self, event_type: str, data: Object) -> str:
        self.count += 1
        return f"id: {self.id}_{self.count}_{micros()}\nevent: {event_type}\ndata: {json.dumps(data)}\n\n"

    async def frames(self) -> AsyncIterator[str]:
        async for text in self._history():
            yield text
        ends = time.monotonic() + self.world.longest
        beat = time.monotonic()
        warned, watched = False, False
        while time.monotonic() < ends:
            status = await self._workflow_status()
            for text in await self._live() if self._runs(status) else self._events() if watched else ():
                yield text  # a client that has watched the run gets what came before its end, too
            watched = watched or status == "RUNNING"
            if status == "CANCELED" and self.status != "cancelled":
                self.status = "cancelled"
                yield self.frame("status", {"status": "cancelled", "execution_id": self.id})
            ending = await self._ending(status)
            if ending:
                for text in ending:
                    yield text
                return
            if time.monotonic() - beat > self.world.keep_alive:
                beat = time.monotonic()
                yield ": keepalive\n\n"
            if not warned and ends - time.monotonic() < self.world.longest / 9:
                warned = True
                yield self.frame("timeout_warning", {"remaining_seconds": round(ends - time.monotonic())})
            await asyncio.sleep(self.world.row_look if self.degraded else self.world.look)
        yield self.frame("reconnect", {"reason": "timeout", "duration": self.world.longest})

    def _runs(self, status: str) -> bool:
        return status == "RUNNING" or not self.world.holds("stream.no-replay")

    async def _history(self) -> AsyncIterator[str]:
        session = self.world.sessions.get(self.id)
        if session is not None:
            messages = history(self.world, self.id, session["messages"])
        else:
            state = await self._query()
            messages = list((state or {}).get("messages") or [])
        kept = messages[-HISTORY:] if self.world.holds("stream.history-200") else messages
        for message in kept:
            self.ids.add(str(message.get("message_id")))
            yield self.frame("message", message)
        self.told = len(messages)
        if self.world.holds("stream.history-complete"):
            more = len(messages) > len(kept)
            about = {"execution_id": self.id, "message_count": len(kept), "is_truncated": more, "has_more": more}
            yield self.frame("history_complete", about)

    async def _handle(self) -> WorkflowHandle[Any, Any]:
        return await self.world.handle(workflow_id(self.execution))

    async def _workflow_status(self) -> str:
        """RUNNING, how it closed, or GONE for a workflow that is not there."""
        try:
            found = await (await self._handle()).describe()
        except RPCError as error:
            return "GONE" if error.status == RPCStatusCode.NOT_FOUND else "RUNNING"
        except RuntimeError:
            return "RUNNING"
        return found.status.name if found.status else "RUNNING"

    async def _query(self) -> Object | None:
        try:
            async with asyncio.timeout(self.world.query_time):
                told = await (await self._handle()).query("get_state")
        except (TimeoutError, RPCError, RuntimeError, WorkflowQueryFailedError, WorkflowQueryRejectedError):
            return None
        return told if isinstance(told, dict) else None

    async def _live(self) -> list[str]:
        """New events of the list, and what get_state says."""
        frames = self._events()
        if self.degraded:
            return frames
        state = await self._query()
        frames += self._events()  # what came meanwhile
        if state is None:
            self.missed += 1
            if self.missed >= 2 and self.world.holds("stream.row"):
                self.degraded = True
                about = {"reason": "worker_unavailable", "fallback": "database", "message": "The worker is away"}
                frames.append(self.frame("degraded", about))
            return frames
        self.missed = 0
        if state.get("status") != self.status:
            self.status = str(state.get("status"))
            frames.append(self.frame("status", {"status": self.status, "execution_id": self.id}))
        messages = state.get("messages") or []
        for message in messages[self.told :] if self.world.holds("stream.state-messages") else ():
            if message.get("role") != "assistant":
                flat = {k: v for k, v in message.items() if k != "message_id" and v is not None}
                frames.append(self.frame("message", flat))
        self.told = max(self.told, len(messages))
        return frames

    def _events(self) -> list[str]:
        """Return the events by index from the old end. In a trimmed list no new one has an index above `read`."""
        listed = self.world.events.get(self.id, [])
        fresh, self.read = listed[self.read :], max(self.read, len(listed))
        return [text for event in fresh if (text := self._event(event))]

    def _event(self, event: Object) -> str:
        kind, data = event["event_type"], event["data"]
        if kind == "message":
            key = str(data.get("message_id"))
            if key in self.ids and self.world.holds("stream.message-once"):
                return ""
            self.ids.add(key)
            if data.get("role"):
                return self.frame(kind, data)
        if str(data.get("message_id")) in self.ids and not self.world.holds("stream.chunks-replayed"):
            return ""
        return self.frame(kind, {"data": data, "timestamp": event["timestamp"]})

    async def _ending(self, status: str) -> list[str]:
        if self.degraded:
            return self._by_row()
        if status == "TERMINATED" or status == "COMPLETED":
            return [self.frame("done", await self._done())]
        if status == "FAILED":
            return [self.frame(*await self._failed())]
        if status == "CANCELED" and not self.world.holds("stream.cancelled"):
            return [self.frame("done", {"execution_id": self.id, "status": "completed"})]
            # No terminal event: the client has the status, and keepalives until the stream's longest time is over.
        return []

    async def _done(self) -> Object:
        state = await self._query()
        row = self.execution
        if state is None:
            return {"execution_id": self.id, **{k: row[k] for k in ("status", "response", "usage")}}
        completed = "completed" if self.world.holds("stream.done") else row["status"]
        about = {"execution_id": self.id, "status": completed, "response": state.get("current_response")}
        return {**about, "usage": state.get("usage") or {}, "metadata": state.get("metadata") or {}}

    async def _failed(self) -> tuple[str, Object]:
        state = await self._query()
        row = self.execution
        if not self.world.holds("stream.failed"):
            return "done", {"execution_id": self.id, "status": "completed"}
        if state is None:
            return "error", {"execution_id": self.id, "error": row["error_message"], "status": row["status"]}
        error = {"execution_id": self.id, "error": state.get("error_message") or "Workflow failed", "status": "failed"}
        kind = (state.get("metadata") or {}).get("error_type")
        return "error", {**error, **({"error_type": kind} if kind else {})}

    def _by_row(self) -> list[str]:
        row = self.execution
        if row["status"] == "completed":
            about = {"execution_id": self.id, "status": "completed", "response": row["response"]}
            return [self.frame("done", {**about, "usage": row["usage"]})]
        if row["status"] in ("failed", "cancelled"):
            error = row["error_message"] or f"Execution {row['status']}"
            return [self.frame("error", {"execution_id": self.id, "error": error, "status": row["status"]})]
        return []
