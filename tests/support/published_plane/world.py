"""The state of the double: its rows, its rules, and the Temporal on which it starts workflows."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    WorkflowHandle,
)

from tests.support.published_plane.edge import Object, Seen
from tests.support.published_plane.rules import RULES

KEPT_EVENTS: Final = 1000
ORGANIZATION: Final = "acme"
USER: Final = {"user_id": "u-1", "user_email": "ops@acme.example", "user_name": "Ops", "user_avatar": None}
DECIDED: Final = {"error": "failed", "tool_use": "running", "length": "waiting_for_input"}


def now() -> str:
    return datetime.now(UTC).isoformat()


def micros() -> int:
    return time.time_ns() // 1000


def judged(execution: Object, turn: Object) -> str:
    """The next status as a judge would find it. `interactive` stands for what it reads out of the conversation."""
    verdict = DECIDED.get(turn.get("finish_reason") or "")
    return verdict or ("waiting_for_input" if execution["_interactive"] else "completed")


class World:
    def __init__(self, key: str, temporal: str) -> None:
        self.key, self.temporal_address = key, temporal
        self.organization = ORGANIZATION
        self.user: Object = dict(USER)
        self.groups: list[str] = []
        self.broken: set[str] = set()  # rules that are off
        self.judge: Callable[[Object, Object], str] = judged
        self.judge_delay = 0.05  # seconds
        self.keep_alive = 1.0  # seconds; 15 in the published one
        self.look = 0.25  # seconds between two looks at the workflow; 1
        self.row_look = 0.4  # seconds between two looks at the row when no worker answers; 2
        self.query_time = 3.0  # seconds for an answer of get_state
        self.minute = 60.0  # seconds of a minute until an approval expires
        self.longest = 30.0  # seconds of a stream; 270
        self.seen: list[Seen] = []
        self.gateway_url, self.gateway_key = "http://127.0.0.1:9/v1", "sk-gateway"
        self.environments: dict[str, Object] = {}
        self.queues: dict[str, Object] = {}
        self.workers: dict[str, Object] = {}
        self.beats: dict[str, Object] = {}
        self.agents: dict[str, Object] = {}
        self.teams: dict[str, Object] = {}
        self.skills: dict[str, Object] = {}
        self.executions: dict[str, Object] = {}
        self.sessions: dict[str, Object] = {}
        self.events: dict[str, list[Object]] = {}  # oldest first, at most 1,000
        self.turns: dict[str, Object] = {}
        self.tool_calls: dict[str, Object] = {}
        self.tasks: dict[str, Object] = {}
        self.approvals: dict[str, Object] = {}
        self.rules: dict[str, Object] = {}
        self.jobs: dict[str, Object] = {}
        self.deleted_jobs: set[str] = set()
        self.job_runs: list[Object] = []
        self.transitions: list[Object] = []  # what the judge wrote: {execution_id, from, to}
        self._client: Client | None = None
        self.environment("default")
        self.queue("default")

    def holds(self, rule: str) -> bool:
        assert rule in RULES, rule
        return rule not in self.broken

    # -- rows

    def environment(self, name: str) -> Object:
        row = self._row(name=name, status="ready", tags=[], settings={}, execution_environment={})
        self.environments[row["id"]] = row
        return row

    def queue(self, name: str, **fields: Any) -> Object:
        environment = next(iter(self.environments))
        about = {"environment_id": environment, "status": "active", "heartbeat_interval": 60, "max_workers": None}
        row = self._row(**about, name=name, display_name=None, description=None, tags=[], settings={}) | fields
        row["task_queue_name"] = row["id"]
        self.queues[row["id"]] = row
        return row

    def _row(self, **fields: Any) -> Object:
        at = now()
        return {
            "id": str(uuid.uuid4()),
            "organization_id": self.organization,
            "created_at": at,
            "updated_at": at,
            **fields,
        }

    def row(self, **fields: Any) -> Object:
        return self._row(**fields)

    def execution(self, kind: str, entity: Object, prompt: str, given: Object, **fields: Any) -> Object:
        """A new row; those of its fields that begin with an underscore are shown to nobody."""
        metadata = given.get("execution_metadata") or {}
        row = self._row(
            execution_type=kind,
            entity_id=entity["id"],
            entity_name=entity["name"],
            prompt=prompt,
            system_prompt=given.get("system_prompt"),
            status="pending",
            response=None,
            error_message=None,
            usage={},
            execution_metadata=metadata,
            runner_name=None,
            **{**self.user, **(given.get("user_metadata") or {})},
            started_at=None,
            completed_at=None,
            participants=[],
            last_message_at=None,
            last_message_preview=None,
            _interactive=bool(metadata.get("interactive")),
            _queue=given.get("worker_queue_id"),
        )
        row |= fields
        self.executions[row["id"]] = row
        return row

    def change(self, execution: Object, **fields: Any) -> None:
        execution |= {**fields, "updated_at": now()}

    def publish(self, execution_id: str, event_type: str, data: Object, timestamp: str | None = None) -> None:
        """Append an event to the list that the stream reads, which keeps the newest 1,000."""
        kept = self.events.setdefault(execution_id, [])
        kept.append({"event_type": event_type, "data": data, "timestamp": timestamp or now()})
        if self.holds("stream.cap"):
            del kept[:-KEPT_EVENTS]

    def live(self, queue_id: str) -> list[Object]:
        return [w for w in self.beats.values() if w["worker_queue_id"] == queue_id]

    def sent(self, method: str, end: str) -> list[Seen]:
        """Requests so far whose path ends so."""
        return [s for s in list(self.seen) if s.method == method and s.path.endswith(end)]

    # -- Temporal

    async def temporal(self) -> Client:
        if self._client is None:
            self._client = await Client.connect(self.temporal_address)
        return self._client

    def forget_temporal(self) -> None:
        """The client belongs to the loop of one server's life."""
        self._client = None

    async def handle(self, workflow_id: str) -> WorkflowHandle[Any, Any]:
        return (await self.temporal()).get_workflow_handle(workflow_id)

    async def start(self, workflow: str, workflow_id: str, queue: str, argument: Object) -> None:
        await (await self.temporal()).start_workflow(workflow, argument, id=workflow_id, task_queue=queue)

    async def schedule(self, job: Object, queue: str, argument: Object) -> None:
        action = ScheduleActionStartWorkflow(
            "ScheduledJobWrapperWorkflow",
            argument,
            id=f"job-{job['id']}-{{{{SCHEDULE_ID}}}}",
            task_queue=queue,
        )
        spec = ScheduleSpec(cron_expressions=[job["cron_schedule"]], time_zone_name=job["cron_timezone"])
        policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
        await (await self.temporal()).create_schedule(f"job-{job['id']}", Schedule(action, spec=spec, policy=policy))


def workflow_id(execution: Object) -> str:
    """Return the id that the server uses for signals and cancellation, by the row's type (docs/protocol.md#b2)."""
    kind = "team" if str(execution["execution_type"]).lower() == "team" else "agent"
    return f"{kind}-execution-{execution['id']}"


def shown(execution: Object) -> Object:
    return {k: v for k, v in execution.items() if not k.startswith("_")}


def history_id(execution_id: str, message: Object) -> str:
    """The id of a message in the history, where all but two forms are rewritten (docs/protocol.md#c2)."""
    key = str(message.get("message_id") or "")
    head, _, number = key.rpartition("_")
    if number.isdigit() and int(number) < 10_000 and head.endswith(("_user", "_assistant")):
        return key
    content = message.get("content")
    text = content if isinstance(content, str) else json.dumps(content)
    digest = hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:8]
    return f"{execution_id}_{message.get('role')}_{digest}"
