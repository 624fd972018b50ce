"""This module starts a new execution that shares the conversation of another one up to a step, and runs on from there.

The step itself is done anew. A step of a tool is done anew with the answer of the model that asked for it: a call and
its result belong together, and no provider takes one without the other.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.server.api.agents import AGENT, entity_of
from kubiya_worker.server.api.executions import execution_of
from kubiya_worker.server.api.run_starts import (
    RunStart,
    asked_again,
    author_of,
    begin,
    choose_queue,
    kept_metadata,
    reply,
)
from kubiya_worker.server.api.sequels import entity_again
from kubiya_worker.server.call import Call
from kubiya_worker.server.conversations import Cut, NoCut, closed, cut_at
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import executions as edges
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import ApiError, invalid
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.store.stored_events import data_of

WHOSE: Final = ("message_id", "timestamp", "user_id", "user_name", "user_email")  # of a message that is said again
NO_STEP: Final = "Name a message of the model or of a person, or a call of a tool"


async def fork(call: Call) -> Any:
    """Start a new execution with the conversation of this one up to the step `at`, an event's number, or `message_id`.

    `prompt` takes the place of the message that the step answers; in the middle of an answer it comes after what is
    kept. `agent`, `model_id` and `worker_queue_id` let another one go on. What made the first one stricter stays.
    """
    origin, fields, plane = execution_of(call), call.fields, call.plane
    key = call.request.headers.get("idempotency-key")
    known = plane.stores.executions.by_idempotency_key(call.organization_id, key) if key else None
    if known is not None:
        return reply(known)
    if ("at" in fields) == ("message_id" in fields):
        raise invalid("at", "Say the step by `at`, the number of its event, or by `message_id`", "missing")
    agent = fields.get("agent")
    kind = AGENT if agent else origin["execution_type"]
    entity = entity_of(call, AGENT, agent) if agent else entity_again(call, origin, "be forked")
    queue = choose_queue(call, fields.get("worker_queue_id") or origin["queue_id"])
    messages = _messages(call, origin)
    step = fields.get("message_id") or _message_of(call, origin, fields["at"], messages)
    try:
        cut = cut_at(messages, step)
    except NoCut as error:
        raise ApiError(409, f"It cannot be run again from there: {error}") from error
    about = {"source": "fork", "fork_of": origin["id"], "fork_at": fields.get("at", step)}
    asked = asked_again(plane, origin) if origin.get("request") is not None else {}
    asked |= {"execution_metadata": {**kept_metadata(origin), **about}}
    asked |= {"model_id": fields.get("model_id") or (None if agent else asked.get("model_id"))}
    if agent:
        asked |= {"system_prompt": None}
    prompt = fields.get("prompt") or str(cut.said.get("content") or "")
    new_id = str(uuid.uuid4())
    files = await _linked(plane, origin, new_id)
    try:
        with plane.database.transaction():
            row = {"id": new_id}
            start = RunStart(kind=kind, entity=entity, queue=queue, prompt=prompt, request=asked)
            forked = begin(call, start, key=key, row=row, sequel=_sequel(call, origin, cut))
            plane.run_files.share(files.rows, new_id, time.time())
            _share(call, origin, forked, messages, cut, files.told)
            plane.stores.executions.record_decision(
                forked, "fork", None, {"fork_of": origin["id"], "fork_at": about["fork_at"]}
            )
    except BaseException:
        plane.run_files.forget(new_id)
        raise
    return reply(forked)


@dataclass(frozen=True)
class OriginFiles:
    """The stored files with which a new execution begins, and what its readers are told of them."""

    rows: list[Object]
    told: str


async def _linked(plane: Plane, origin: Execution, execution_id: str) -> OriginFiles:
    """Give an execution that is not there yet the contents of its origin's files, as they were stored last."""
    every = plane.run_files.list(origin["id"])
    wanted = [each for each in every if not each["refused"]]
    try:
        digests = [str(each["sha256"]) for each in wanted]
        linked = await asyncio.to_thread(plane.run_files.link, origin["id"], execution_id, digests)
    except OSError as error:
        return OriginFiles([], f"its files cannot be copied: {error.strerror}")
    rows = [each for each in wanted if each["sha256"] in linked]
    return OriginFiles(rows, about_files(len(rows), len(every) - len(rows), kept=plane.run_files.kept))


def about_files(copied: int, left: int, *, kept: bool) -> str:
    """Return what readers of a fork are told of its origin's files. Pure."""
    if not kept:
        return "its files are not here: this control plane keeps none"
    if not copied:
        return "none of its files is stored here" if not left else f"none of its {left} files is stored here"
    words = f"it begins with {copied} file{'' if copied == 1 else 's'} of it, as they were stored last"
    return f"{words}; {left} more {'is' if left == 1 else 'are'} not stored" if left else words


def _sequel(call: Call, origin: Execution, cut: Cut) -> Object:
    """Return how the new run begins: with a new message, or with the old one, which is said again or is there."""
    again = not call.fields.get("prompt")
    message = {name: cut.said[name] for name in WHOSE if cut.said.get(name)} if again else author_of(call)
    return {"message": message, "turns": call.plane.conversations.next_turns(origin)}


def _messages(call: Call, origin: Execution) -> list[m.Message]:
    """Return the conversation; of a run that goes on only what is stored, as the rest is not complete."""
    if ex.is_final(origin["status"]):
        return call.plane.conversations.messages(origin)
    return list((call.plane.stores.results.session(origin["id"]) or {}).get("messages") or ())


def _message_of(call: Call, origin: Execution, at: int, messages: list[m.Message]) -> str:
    """Return the id of the message that the event number `at` belongs to; answer 422 when it is no step."""
    stored = call.plane.stores.events.after(origin["id"], at - 1, 1)
    if not stored or stored[0].sequence != at:
        raise invalid("at", f"There is no event {at}. {NO_STEP}", "value_error")
    data = data_of(stored[0])
    member = data.get("source") == "team_member"
    called = str(data.get("parent_tool_execution_id" if member else "tool_execution_id") or "")
    asking = (
        message for message in messages if any(str(each["id"]) == called for each in message.get("tool_calls") or ())
    )
    message_id = data.get("parent_message_id" if member else "message_id")
    message_id = str(next(asking, {}).get("message_id") or message_id or "") if called else str(message_id or "")
    if not message_id:
        raise invalid("at", f"The event {at} ({stored[0].event_type}) is no step. {NO_STEP}", "value_error")
    return message_id


def _share(call: Call, origin: Execution, forked: Execution, messages: list[m.Message], cut: Cut, files: str) -> None:
    """Give the new execution the conversation before the cut: for its model, and for its readers."""
    plane, kept = call.plane, closed(messages[: cut.length])
    about = {"session_id": forked["id"], "execution_id": forked["id"], "user_id": None, "metadata": {}}
    if kept:
        plane.stores.results.save_session(forked["id"], {**about, "messages": kept})
    places: dict[str, int] = {}
    for sequence, message_id in plane.stores.events.subjects(origin["id"], ev.MESSAGE, ev.MESSAGE_CHUNK):
        places.setdefault(message_id, sequence)
    behind = (places.get(str(message.get("message_id"))) for message in messages[cut.length :])
    before = next((place for place in behind if place is not None), 0)
    plane.stores.events.share(origin["id"], before, forked["id"])
    words = f"It shares the conversation of the execution {origin['id']} up to here; {files}"
    event = ev.event(f"notice:{forked['id']}:fork", ev.NOTICE, {"message": words, "kind": "fork", "severity": "info"})
    plane.runs.publish(forked["id"], [event])


ROUTES: list[Route] = [
    Edge("POST", "/executions/{execution}/fork", fork, body=edges.Fork, audit="execution.start"),
]
