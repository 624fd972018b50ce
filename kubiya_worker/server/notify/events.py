"""This module names what people can be told, and says it in words: a title, a text, facts. Pure."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kubiya_worker.protocol.events import now
from kubiya_worker.protocol.execution import Budgets
from kubiya_worker.server.notify import budget

Object = dict[str, Any]

APPROVAL_WAITING: Final = "approval_waiting"
QUESTION_WAITING: Final = "question_waiting"
RUN_FAILED: Final = "run_failed"
JOB_FAILED: Final = "job_failed"
APPROVAL_EXPIRES_SOON: Final = "approval_expires_soon"
WORKER_LOST: Final = "worker_lost"
BUDGET_NEAR_END: Final = "budget_near_end"
WAITING: Final = (APPROVAL_WAITING, QUESTION_WAITING)
EVENTS: Final = (*WAITING, APPROVAL_EXPIRES_SOON, RUN_FAILED, JOB_FAILED, WORKER_LOST, BUDGET_NEAR_END)
TEST: Final = "test"  # sent by a person, to one definition

INFO: Final = "info"
WARNING: Final = "warning"
CRITICAL: Final = "critical"
SEVERITIES: Final = (INFO, WARNING, CRITICAL)
_OF_RISK: Final = {"critical": CRITICAL, "high": WARNING}

BUDGET_PERCENT: Final = 80  # of a budget, from which on it is near its end, unless a definition says another figure
LONGEST_TITLE: Final = 200  # characters
LONGEST_ARGUMENTS: Final = 1_000  # characters
LONGEST_TEXT: Final = 2_000  # characters


@dataclass(frozen=True)
class EventSource:
    """An event source says where something happened: ids and names of the agent or team, and of the queue."""

    agents: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Happening:
    """Something that people may be told. `events` are its names, the nearest first: a job's run is also a run.

    `key` is the same whenever it is the same: a definition tells it once.
    """

    events: tuple[str, ...]
    key: str
    severity: str
    title: str
    text: str
    facts: Object
    origin: EventSource
    page: str = "/"  # the path of the page about it
    approval_id: str | None = None
    percent: int | None = None  # of a budget that is used

    def data(self, event: str) -> Object:
        """Return what a delivery stores."""
        return {
            "event": event,
            "severity": self.severity,
            "title": one_line(self.title, LONGEST_TITLE),
            "text": cut(self.text, LONGEST_TEXT),
            "facts": self.facts,
            "page": self.page,
            "at": now(),
        }


def wants(definition: Mapping[str, Any], happening: Happening) -> str:
    """Return as what a definition tells a happening; an empty text when it does not."""
    if not definition.get("enabled", True) or not _covers(definition.get("filters") or {}, happening.origin):
        return ""
    if happening.percent is not None and happening.percent < (definition.get("budget_percent") or BUDGET_PERCENT):
        return ""
    return next((event for event in happening.events if event in definition["events"]), "")


def _covers(filters: Mapping[str, Any], origin: EventSource) -> bool:
    """Return whether a happening is within the filters: an agent or a team that they list, on a queue that they list.

    A list that is absent is no limit; agents and teams are one limit.
    """
    queues = filters.get("queues")
    if queues and set(queues).isdisjoint(origin.queues):
        return False
    agents, teams = filters.get("agents") or (), filters.get("teams") or ()
    if not agents and not teams:
        return True
    return not (set(agents).isdisjoint(origin.agents) and set(teams).isdisjoint(origin.teams))


def origin_of(execution: Mapping[str, Any]) -> EventSource:
    """Return where an execution runs."""
    entity = _names(execution["entity_id"], execution.get("entity_name"))
    queues = _names(execution["queue_id"], execution.get("runner_name"))
    if execution["execution_type"] == "team":
        return EventSource(teams=entity, queues=queues)
    return EventSource(agents=entity, queues=queues)


def of_approval(approval: Mapping[str, Any], execution: Mapping[str, Any]) -> Happening:
    """Return that a request waits for a person: for an approval, or for an answer to a question."""
    who, tool = _entity(execution), str(approval.get("tool_name") or "a tool")
    question = bool((approval.get("enforcement_context") or {}).get("question"))
    arguments = approval.get("tool_args") or {}
    asked = str(arguments.get("question") or "") if question else ""
    lines = [asked or f"{tool} {_shown(arguments)}"]
    if approval.get("reason"):
        lines.append(f"Reason: {approval['reason']}")
    if approval.get("risk_level"):
        lines.append(f"Risk: {approval['risk_level']}")
    lines.append(f"Open until {approval['expires_at'][:16].replace('T', ' ')} UTC")
    return Happening(
        events=(QUESTION_WAITING if question else APPROVAL_WAITING,),
        key=f"waiting:{approval['id']}",
        severity=_OF_RISK.get(str(approval.get("risk_level") or "").lower(), INFO),
        title=f"{who} has a question" if question else f"{who} waits for an approval of {tool}",
        text="\n".join(lines),
        facts={
            **_of_execution(execution),
            "approval_id": approval["id"],
            "tool_name": tool,
            "arguments": _shown(arguments),
            "arguments_hash": approval.get("arguments_hash"),
            "risk_level": approval.get("risk_level"),
            "expires_at": approval["expires_at"],
        },
        origin=origin_of(execution),
        page=_page(execution),
        approval_id=str(approval["id"]),
    )


def of_end(approval: Mapping[str, Any], execution: Mapping[str, Any]) -> Happening:
    """Return that a request ends soon without an answer."""
    waiting = of_approval(approval, execution)
    return replace(
        waiting,
        events=(APPROVAL_EXPIRES_SOON,),
        key=f"expires:{approval['id']}",
        severity=max(WARNING, waiting.severity, key=SEVERITIES.index),
        title=f"{waiting.title}, and the request ends soon",
        facts={**waiting.facts, "question": waiting.events == (QUESTION_WAITING,)},
    )


def of_worker(worker: Mapping[str, Any], queue: Mapping[str, Any]) -> Happening:
    """Return that a worker sends no heartbeats any more, and has not said that it stops."""
    host = str((worker.get("system_info") or {}).get("hostname") or "an unknown host")
    return Happening(
        events=(WORKER_LOST,),
        key=f"worker:{worker['id']}:{int(worker['heartbeat_at'])}",
        severity=WARNING,
        title=f"A worker of the queue {queue['name']} is lost",
        text=f"The worker {worker['id']} on {one_line(host, 100)} is silent since {worker['last_heartbeat']}",
        facts={
            "worker_id": worker["id"],
            "queue": queue["name"],
            "host": host,
            "last_heartbeat": worker["last_heartbeat"],
        },
        origin=EventSource(queues=_names(queue["id"], queue["name"])),
        page="/#/",
    )


def _times(execution: Mapping[str, Any]) -> str:
    number = (execution.get("sequel") or {}).get("number")
    return f":{number}" if number else ""  # one that went on may fail again


def of_failure(execution: Mapping[str, Any], job: Mapping[str, Any] | None) -> Happening:
    """Return that an execution failed; `job` is the one that has started it."""
    who, why = _entity(execution), str(execution.get("error_message") or "no reason was given")
    about = {"job_id": job["id"], "job_name": job["name"]} if job else {}
    return Happening(
        events=(JOB_FAILED, RUN_FAILED) if job else (RUN_FAILED,),
        key=f"failed:{execution['id']}{_times(execution)}",
        severity=WARNING,
        title=f"The job {job['name']} failed" if job else f"A run of {who} failed",
        text=f"{why}\nAsked: {one_line(str(execution.get('prompt') or ''), 300)}",
        facts={**_of_execution(execution), **about, "error": cut(why, LONGEST_TEXT)},
        origin=origin_of(execution),
        page=_page(execution),
    )


def of_budget(execution: Mapping[str, Any], budgets: Budgets, used: Mapping[str, float], number: int) -> Happening:
    """Return that an execution has used so much of its budget; `number` says which budget, as a person may raise it."""
    who, shares = _entity(execution), budget.percent(budgets, used)
    nearest = max(shares.values())
    near = {name: share for name, share in shares.items() if share >= min(BUDGET_PERCENT, nearest)}
    lines = [
        f"{budget.figure(used[name])} of {budget.figure(getattr(budgets, name))} {budget.UNITS[name]} ({share} %)"
        for name, share in sorted(near.items(), key=lambda each: -each[1])
    ]
    after = "A person is asked then" if budgets.on_limit == "ask" else "The run ends then, and fails"
    return Happening(
        events=(BUDGET_NEAR_END,),
        key=f"budget:{execution['id']}:{number}",
        severity=WARNING,
        title=f"A run of {who} has used {nearest} % of its budget",
        text="\n".join([*lines, after]),
        facts={
            **_of_execution(execution),
            "used_percent": nearest,
            "budget": {name: {"used": used[name], "limit": getattr(budgets, name)} for name in near},
        },
        origin=origin_of(execution),
        page=_page(execution),
        percent=nearest,
    )


def of_job(job: Mapping[str, Any], why: str) -> Happening:
    """Return that a job cannot start any run."""
    kind = "teams" if job.get("entity_type") == "team" else "agents"
    origin = EventSource(**{kind: _names(job.get("entity_id"), job.get("entity_name"))})
    return Happening(
        events=(JOB_FAILED,),
        key=f"job:{job['id']}:{job['updated_at']}",
        severity=WARNING,
        title=f"The job {job['name']} cannot run",
        text=why,
        facts={"job_id": job["id"], "job_name": job["name"], "error": why},
        origin=origin,
        page="/#/jobs",
    )


def test(name: str) -> Happening:
    """Return what `kubiya notifications test` sends."""
    return Happening(
        events=(TEST,),
        key=f"test:{now()}",
        severity=INFO,
        title=f"Test of the notification {name}",
        text="If you can read this, the channel works.",
        facts={"notification": name},
        origin=EventSource(),
    )


def one_line(text: str, most: int) -> str:
    """Return the text on one line without control characters, which could end a header or hide a word."""
    return cut("".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text), most)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _shown(arguments: Any) -> str:
    return cut(json.dumps(arguments, ensure_ascii=False, default=str), LONGEST_ARGUMENTS)


def _entity(execution: Mapping[str, Any]) -> str:
    return str(execution.get("entity_name") or execution["entity_id"])


def _names(*values: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in values if each)


def _of_execution(execution: Mapping[str, Any]) -> Object:
    kind = execution["execution_type"]
    return {"execution_id": execution["id"], kind: _entity(execution), "queue": execution.get("runner_name")}


def _page(execution: Mapping[str, Any]) -> str:
    return f"/#/executions/{execution['id']}"
