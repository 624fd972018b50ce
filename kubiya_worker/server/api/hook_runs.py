"""This module does what a hook's proven delivery asks for: starts a run, tells the one that works on it, or waits.

The id of a run comes from the hook, the thing that its alert is about, and how often it was worked on. So whoever
starts the same a second time, also another control plane, meets an execution and a workflow that are there.
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Final

from sqlalchemy.exc import IntegrityError
from starlette.requests import Request

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.api import run_starts
from kubiya_worker.server.api.agents import entity_of
from kubiya_worker.server.api.control import say
from kubiya_worker.server.api.queues import hidden, queues_of
from kubiya_worker.server.auth import Caller
from kubiya_worker.server.call import Call
from kubiya_worker.server.hooks import alert as a
from kubiya_worker.server.hooks import decision, prompt
from kubiya_worker.server.hooks.alert import Alert
from kubiya_worker.server.hooks.decision import HookVerdict
from kubiya_worker.server.person import of_hook
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import no_queue
from kubiya_worker.server.store.database import dumps
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.hooks import HookDelivery, thread_of
from kubiya_worker.server.store.records import Object

NAMESPACE: Final = uuid.UUID("5d1c5f0e-6f0b-5e55-9a3c-6a0f7b1f8f10")  # any, but always this one
INTERACTIVE: Final = "interactive"  # the metadata by which a run stays open after its answer
BY_SEVERITY: Final = {a.CRITICAL: 1, a.ERROR: 2, a.INFO: 4}  # Temporal's priority; 3 is what others have


def call_of(plane: Plane, hook: Object, address: str = "", request: Request | None = None) -> Call:
    """Return a call by the hook itself, also when no request is there."""
    bare = Request({"type": "http", "method": "POST", "path": f"/hooks/{hook['name']}", "headers": []})
    return Call(request or bare, plane, Caller(hook["organization_id"], of_hook(hook, address)))


def prompt_of(hook: Object, alert: Alert) -> str:
    return prompt.fill(hook["prompt"] or prompt.DEFAULT, alert, hook["name"])


def judge(plane: Plane, hook: Object, alert: Alert, now: float) -> HookVerdict:
    """Return what would be done with an alert; nothing is changed."""
    row = plane.stores.hooks.thread(hook["id"], alert)
    known = plane.stores.executions.get(hook["organization_id"], row.execution_id) if row and row.execution_id else None
    open_ = known is not None and not ex.is_final(known["status"])
    busy_until = max(row.started_at, _seconds(known)) if row and row.execution_id else 0.0
    thread = thread_of(row, open_=open_, busy_until=busy_until)
    return decision.decide(hook, alert, thread, plane.stores.hooks.starts(hook["id"], now), now)


def _seconds(execution: Execution | None) -> float:
    """Return when an execution ended, in seconds since the epoch; 0 while it runs."""
    ended = (execution or {}).get("completed_at")
    return datetime.fromisoformat(ended).timestamp() if ended else 0.0


def take(call: Call, hook: Object, alert: Alert, now: float, kept: Object, *, signature: str = "") -> Object:
    """Do what the alert asks for, and keep the delivery, in one transaction; return the answer.

    Raises ApiError when a run should start and cannot.
    """
    plane = call.plane
    with plane.database.transaction():
        verdict = judge(plane, hook, alert, now)
        execution_id = _act(call, hook, alert, verdict, now)
        answer = {
            "verdict": verdict.verdict,
            "reason": verdict.reason,
            "execution_id": execution_id or None,
            **({"page": run_starts.page_of(execution_id)} if execution_id else {}),
        }
        kept = {**kept, "reason": verdict.reason, "alert": alert.facts(), "answer": answer}
        delivery = HookDelivery(
            verdict=verdict.verdict,
            data=kept,
            body=dumps(alert.raw),
            signature=signature,
            number=alert.number,
            execution_id=execution_id,
        )
        plane.stores.hooks.keep(hook["id"], now, delivery)
    return answer


def _act(call: Call, hook: Object, alert: Alert, verdict: HookVerdict, now: float) -> str:
    """Return the id of the execution that now works on the alert; empty for none."""
    plane, row = call.plane, call.plane.stores.hooks.thread(hook["id"], alert)
    if verdict.verdict == decision.STARTED:
        starts = row.starts if row else 0
        execution_id = id_of(hook, alert.thing, starts)
        begin(call, hook, execution_id, prompt_of(hook, alert), alert.severity, alert.facts())
        memory = {"execution_id": execution_id, "starts": starts + 1, "started_at": now, "held": None}
        plane.stores.hooks.note(hook["id"], alert, **memory)
        return execution_id
    if verdict.verdict == decision.HELD:
        facts = {"title": alert.title, "severity": alert.severity, "labels": alert.labels, "status": alert.status}
        plane.stores.hooks.note(hook["id"], alert, held=dumps({**facts, "started_at": alert.started_at}))
        return ""
    if verdict.verdict == decision.TOLD:
        plane.stores.hooks.note(hook["id"], alert)
        tell(call, hook, row.execution_id, alert)
        return str(row.execution_id)
    if verdict.verdict in (decision.RESOLVED, decision.GROUPED):
        if row is not None:
            plane.stores.hooks.note(hook["id"], alert, held=None)
        return str(row.execution_id or "") if row is not None else ""
    return str(row.execution_id or "") if row is not None else ""


def id_of(hook: Object, thing: str, number: int) -> str:
    """Return the id of the execution that is the hook's next one for a thing."""
    return str(uuid.uuid5(NAMESPACE, f"{hook['id']}:{thing}:{number}"))


def begin(call: Call, hook: Object, execution_id: str, text: str, severity: str, facts: Object) -> None:
    """Start a run for the hook; one that is there already is left as it is."""
    kind = hook["entity_type"]
    about = {"hook_id": hook["id"], "hook": hook["name"], "trigger_type": "webhook"}
    request: Object = {
        "requested_by": hook.get("owner"),
        # Tainted from its beginning: what the alert says is in the prompt, or comes as a message later.
        "user_metadata": {**about, "tainted": True},
        "execution_metadata": {**about, **({INTERACTIVE: True} if hook["wait_for_resolved"] else {})},
    }
    row = {"id": execution_id, "hook": {"id": hook["id"], "name": hook["name"], "alert": facts}}
    start = run_starts.RunStart(
        kind=kind,
        entity=entity_of(call, kind, hook["entity_id"]),
        queue=_queue(call, hook),
        prompt=text,
        request=request,
        urgency=hook["priority"] or BY_SEVERITY.get(severity),
    )
    try:
        run_starts.begin(call, start, row=row)
    except IntegrityError:
        return
    call.plane.stores.hooks.ran(hook, execution_id)


def _queue(call: Call, hook: Object) -> Object:
    """Return the hook's queue, or an active one, with a live worker if possible: an alert at night waits for one."""
    if hook["queue"]:
        return run_starts.choose_queue(call, hook["queue"])
    queues = [queue for queue in queues_of(call) if queue["status"] == "active" and not hidden(queue)]
    if not queues:
        raise no_queue()
    return next((q for q in queues if call.plane.stores.workers.live(call.organization_id, q["id"])), queues[0])


def tell(call: Call, hook: Object, execution_id: str, alert: Alert) -> None:
    """Tell a running execution the news; with the last alert that it works on resolved, it need not stay open."""
    plane = call.plane
    execution = plane.stores.executions.get(hook["organization_id"], execution_id)
    if execution is None:
        return
    metadata = execution.get("execution_metadata") or {}
    if alert.resolved and metadata.get(INTERACTIVE) and not plane.stores.hooks.fires(execution_id):
        kept = {name: value for name, value in metadata.items() if name != INTERACTIVE}
        execution = plane.runs.change(execution, {"execution_metadata": kept})
    message = {
        "role": "user",
        "content": prompt.news(alert, hook["name"]),
        "message_id": f"{execution_id}_hook_{alert.state[:32]}_{alert.status}",
        "timestamp": ev.now(),
        "user_id": call.person.id,
        "user_name": call.person.name,
    }
    say(plane, execution, message, call.person.id)


def release(plane: Plane, now: float | None = None) -> list[str]:
    """Start one run for the alerts of each hook that came too fast, as soon as it may start one; return the ids."""
    at = time.time() if now is None else now
    started = []
    for hook in plane.stores.hooks.waiting():
        if not hook["enabled"] or plane.stores.hooks.starts(hook["id"], at) >= hook["max_starts_per_minute"]:
            continue
        with plane.database.transaction():
            rows = plane.stores.hooks.held(hook["id"])
            alerts = [plane.stores.hooks.alert_of(row) for row in rows]
            things = [row.thing for row in rows]
            execution_id = id_of(hook, a.digest(*things), sum(row.starts for row in rows))
            worst = next((word for word in a.SEVERITIES if any(each["severity"] == word for each in alerts)), "")
            facts = {"title": f"{len(alerts)} alerts", "severity": worst, "status": a.FIRING}
            begin(call_of(plane, hook), hook, execution_id, prompt.many(alerts, hook["name"]), worst, facts)
            plane.stores.hooks.release(hook["id"], things, execution_id, at)
        started.append(execution_id)
    return started
