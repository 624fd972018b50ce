"""Access to the workflow's context and conversation, from this worker's memory or by a query to the workflow."""

from __future__ import annotations

from typing import Any

from temporalio import activity

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import messages as m


def _workflow(runtime: Runtime) -> Any:
    info = activity.info()
    assert info.workflow_id is not None
    return runtime.temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)


def remember(runtime: Runtime, execution_id: str) -> None:
    """Remember the execution's workflow, so that Temporal can be asked later whether it has ended."""
    workflow_id = activity.info().workflow_id
    if workflow_id is not None:
        runtime.workflows.put(execution_id, workflow_id)


async def context_of(runtime: Runtime, execution_id: str, version: int = 0) -> calls.Context:
    """Return the execution's context: the one in memory, unless its tools are older than `version`."""
    remember(runtime, execution_id)
    known = runtime.memory.contexts.get(execution_id)
    if known is None or known.tools_version < version:
        known = await _workflow(runtime).query(names.GET_CONTEXT, result_type=calls.Context)
        runtime.memory.contexts.put(execution_id, known)
    assert known is not None
    return known


async def conversation_of(runtime: Runtime, call: calls.ModelInput) -> list[m.Message]:
    """Return the conversation with the digest that the call names. Missing parts are queried from the workflow."""
    known = runtime.memory.transcripts.assemble(call.execution_id, call.base, call.tail, call.digest)
    if known is not None:
        return known
    start, digest = runtime.memory.transcripts.held(call.execution_id)
    whole = await _page_in(runtime, call.execution_id, start, digest)
    if m.digest_of(whole) != call.digest:  # another history of the same execution was in memory (a reset)
        whole = await _page_in(runtime, call.execution_id, 0, m.EMPTY_DIGEST)
    return whole


async def _page_in(runtime: Runtime, execution_id: str, start: int, digest: str) -> list[m.Message]:
    handle = _workflow(runtime)
    fetched: list[m.Message] = []
    while True:
        page: dict[str, Any] = await handle.query(names.GET_TRANSCRIPT, start + len(fetched), result_type=dict)
        if not fetched and page["digest"] != digest:  # the messages in memory do not match: start from the first one
            start, digest = 0, m.EMPTY_DIGEST
            page = await handle.query(names.GET_TRANSCRIPT, 0, result_type=dict)
        fetched += page["messages"]
        if start + len(fetched) >= page["total"] or not page["messages"]:
            return runtime.memory.transcripts.replace(execution_id, start, fetched)


async def last_request(runtime: Runtime, execution_id: str) -> str:
    """Return the last message of the person, or of the agent that gave the task."""
    whole = await _page_in(runtime, execution_id, *runtime.memory.transcripts.held(execution_id))
    return next((str(x.get("content") or "") for x in reversed(whole) if x["role"] == "user"), "")


async def message_of(runtime: Runtime, execution_id: str, message_id: str) -> m.Message:
    """Return one message of the conversation by its id. Raise LookupError when it is not there."""
    message = runtime.memory.transcripts.find(execution_id, message_id)
    if message is None:
        whole = await _page_in(runtime, execution_id, *runtime.memory.transcripts.held(execution_id))
        message = next((x for x in reversed(whole) if x.get("message_id") == message_id), None)
    if message is None:
        raise LookupError(f"message {message_id} is not in the conversation")
    return message
