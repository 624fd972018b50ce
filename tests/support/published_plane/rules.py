"""The rules of the published control plane that the double keeps, each of which a test can switch off.

A rule that is off makes the double more lenient than the published server, or wrong in one point. The contract suite
(tests/contract) has a check for each of them, and tests/contract/test_mutations.py sees it fail without its rule.
"""

from __future__ import annotations

from typing import Final

RULES: Final[dict[str, str]] = {
    # A.1, A.11: what holds for every write
    "auth.unknown-key": "A.1: a key that is not known is 401 with an object that has error, message and hint",
    "auth.every-form": "A.1: Bearer, UserKey, Baerer, a bare key and the header UserKey are taken",
    "types.422": "A.11: a wrong JSON type is 422 with FastAPI's list of problems",
    "types.required": "A.11: a required field that is missing is 422",
    "types.null-is-not-absent": "A.11: null for a field that has a default is 422",
    "types.fraction": "A.11: 1.5 for an integer is 422, 2.0 is taken",
    "types.unknown-fields": "A.11: unknown fields are ignored",
    "ids.unknown": "A.11: an unknown id in the path is 404",
    "ids.no-uuid": "A.11: an id in the path that is no UUID is 500",
    "values.time": "A.11: a time that is no ISO-8601 text is 500",
    "values.nul": "A.11: a NUL or a lone surrogate in what is stored is 500",
    "values.int-range": "A.11: a count of 2^31 or more is 500",
    # A.3, A.4: workers
    "start.inactive": "A.3: a queue that is not active refuses workers with 400",
    "start.fresh-id": "A.3: each start gets a worker id of the server's, whatever was asked for",
    "start.system-info": "A.11: a wrong type in system_info is 422",
    "heartbeat.any-worker": "A.11: a heartbeat of an unknown worker is 204",
    "disconnect.unknown": "A.11: disconnect of an unknown worker is 404, and twice is 204",
    "queue.task-queue": "A.3: the task queue is the queue's UUID",
    # A.5: executions
    "patch.lower-case": "A.5: a status is stored in lower case",
    "patch.replaces-maps": "A.5: usage and execution_metadata are replaced, not merged",
    "patch.null-leaves": "A.11: null in a PATCH leaves the field as it is",
    "events.any-type": "A.11: an event of any type is 202, also for an unknown execution",
    "session.404-first": "A.5: before the first turn the session is 404",
    "session.success-false": "A.11: what cannot be stored as a session is 201, success false, and nothing stored",
    "session.replaced": "A.5: a session is replaced as a whole",
    "message.id": "A.5: a follow-up gets the id {execution}_{microseconds} of the server",
    "pause.only-running": "A.5: pause of what does not run is success false with error and status",
    "job.create-twice": "A.11: job-executions answers 201 also the second time",
    "job.unknown": "A.11: job-executions of an unknown job is 404",
    "job.status": "A.11: the status of a job's run is 202 updated, or 202 not_found",
    # A.6: analytics
    "turns.row-id": "A.6: the turn_id of the reply is the UUID of a row; that of the request is never a key",
    "turns.judge": "A.6: a turn decides the status, whatever the row's is",
    "turns.unknown-execution": "A.6: a turn of an unknown execution is 404",
    "tool-calls.turn-id": "A.6: the turn_id of a tool call is the id of a stored turn, or null; else 500",
    "tool-calls.input-object": "A.11: tool_input is an object, tool_output a text; else 422",
    "batch.all-or-nothing": "A.6: one bad item of a batch and nothing of it is stored",
    "batch.execution-id": "A.6: each item of a batch repeats execution_id; else 422",
    "batch.no-decision": "A.6: turns inside a batch get no decision",
    "tasks.server-id": "A.6: a task is patched by the id of the reply",
    # A.7: agents and teams
    "agents.drops": "A.11: last_active_at, state and error_message of a PATCH are dropped",
    "teams.status": "A.11: a team's status is active, inactive, archived or idle; else 422",
    "teams.member-objects": "A.7: member objects carry no prompt, model or runtime",
    "execute.queue-required": "A.7: execute without worker_queue_id is 422",
    # A.8: skills and environment
    "skills.known-keys": "A.8: a skill keeps the known configuration keys only",
    "skills.auto-shell": "A.8: each agent gets a Shell skill with an empty configuration besides its own",
    "environment.key": "A.8: resolved/full adds KUBIYA_API_KEY and MEMORY_DATASET_NAME",
    # A.9: approvals
    "approvals.server-id": "A.9: the id of an approval is the server's; one in the request is ignored",
    "approvals.no-idempotency": "A.9: a second POST is a second request",
    "approvals.context-kept": "A.9: enforcement_context comes back unchanged",
    "approvals.approver": "A.9: only an approver by e-mail or group may decide; else 404",
    "approvals.once": "A.9: a second decision is 404",
    "approvals.plain-500": "A.11: a rule_id that is no UUID, or too long a name, is 500 in plain text",
    "approvals.body-required": "A.9: approve and reject want a body",
    "approvals.no-expiry": "A.9: nothing expires a request, and no route does",
    "rules.first-by-priority": "A.9: the first enabled rule by priority is the one that resolve tells",
    # B: Temporal
    "temporal.ids": "B.2: workflow ids are agent-execution-{id} and team-execution-{id}",
    "temporal.input": "B.3: the input is one object that holds control_plane_url and api_key",
    "temporal.cron-null-id": "B.3: the input of a cron run has a null execution_id",
    # C: the stream
    "stream.history-ids": "C.2: an id of another form than _user_n or _assistant_n is rewritten in the history",
    "stream.history-doubles": "C.3: messages of one id, and like assistant texts within 5 s, come once",
    "stream.history-200": "C.3: the history is the last 200 messages",
    "stream.history-complete": "C.3: history_complete ends the history",
    "stream.chunks-replayed": "C.3: chunks are sent again to a client that has had the history",
    "stream.message-once": "C.3: a live message whose id was sent is left out",
    "stream.cap": "C.1: a client of a running execution gets the first 1,000 events and no more",
    "stream.state-messages": "C.3: messages of get_state that are no assistant's are sent again without an id",
    "stream.done": "B.5: a workflow that completes ends the stream with done and the status completed",
    "stream.failed": "B.5: a workflow that fails ends the stream with error, its text and its type",
    "stream.cancelled": "B.5: a workflow that is cancelled ends no stream",
    "stream.row": "B.5: without a worker the row decides",
    "stream.no-replay": "C.3: a client of a closed run gets no events, only history and end",
}
