"""This module makes stored objects from what requests say: each kind of definition with its defaults. Pure."""

from __future__ import annotations

import uuid
from typing import Final

from kubiya_worker.protocol import mcp_keys
from kubiya_worker.server.store.records import Object

SCOPES: Final = ("tool", "risk_level", "category", "all")
ACTIONS: Final = ("ask", "allow", "deny")  # our own field; a rule without an action asks
LONGEST_TIMEOUT: Final = 43_200  # minutes
HEARTBEAT_INTERVAL: Final = (
    30  # seconds: the published default of 60 leaves one lost beat of slack (docs/protocol.md#h5)
)
OVERLAP: Final = "allow_all"  # docs/protocol.md#b2, as the next one
CATCH_UP: Final = 60  # seconds
DEFAULT_SKILL: Final[Object] = {"name": "shell", "type": "shell", "description": "Runs commands"}


def new_environment(fields: Object) -> Object:
    defaults: Object = {
        "display_name": None,
        "description": None,
        "tags": [],
        "settings": {},
        "execution_environment": {},
        "status": "ready",
    }
    return {**defaults, **_without_name(fields)}


def new_queue(fields: Object, environment_id: str) -> Object:
    defaults: Object = {
        "display_name": None,
        "description": None,
        "status": "active",
        "max_workers": None,
        "heartbeat_interval": HEARTBEAT_INTERVAL,
        "tags": [],
        "settings": {},
        "ephemeral": str(fields.get("name") or "").startswith("local-exec"),
        "single_execution_mode": False,
        "created_by": None,
    }
    return {**defaults, **_without_name(fields), "environment_id": environment_id}


def new_agent(fields: Object) -> Object:
    """Return a new agent with its skills {id, name, type, configuration, enabled}; without any it gets the shell."""
    defaults: Object = {
        "description": None,
        "system_prompt": None,
        "capabilities": [],
        "configuration": {},
        "model_id": None,
        "llm_config": {},
        "runtime": "default",
        "runner_name": None,
        "team_id": None,
        "environment_ids": [],
        "execution_environment": {},
        "status": "idle",
        "last_active_at": None,
        "state": {},
        "error_message": None,
    }
    fields = _without_name(fields)
    return {**defaults, **fields, "skills": [skill(s) for s in fields.get("skills", [DEFAULT_SKILL])]}


def new_team(fields: Object) -> Object:
    defaults: Object = {
        "description": None,
        "runtime": "default",
        "configuration": {},
        "execution_environment": {},
        "environment_ids": [],
        "status": "active",
    }
    fields = _without_name(fields)
    return {**defaults, **fields, "skills": [skill(s) for s in fields.get("skills", [])]}


def new_skill(fields: Object) -> Object:
    """Return a new skill that agents and teams name."""
    defaults: Object = {"type": None, "description": "", "icon": None, "enabled": True, "configuration": {}}
    return {**defaults, **_without_name(fields)}


def new_mcp_server(fields: Object) -> Object:
    """Return a new MCP server that agents, teams and environments name; null is a worker's default."""
    return {**dict.fromkeys(sorted(mcp_keys.OWN - {"disabled", "autoApprove"})), **_without_name(fields)}


def new_model(fields: Object) -> Object:
    """Return a new model for queues' lists; `queues` are ids, and none stand for all."""
    defaults: Object = {
        "description": None,
        "queues": [],
        "model": None,
        "api_base": None,
        "api_key": None,
        "extra_body": None,
        "extra_headers": None,
        "compatibility": None,
    }
    return {**defaults, **_without_name(fields)}


def new_rule(fields: Object) -> Object:
    defaults: Object = {
        "description": None,
        "scope_value": None,
        "approver_type": None,
        "approver_value": None,
        "separate_approver": False,
        "auto_approve_roles": [],
        "require_reason": False,
        "timeout_minutes": 1440,
        "enabled": True,
        "priority": 0,
        "action": "ask",
        "argument_pattern": None,
    }
    return {**defaults, **_without_name(fields)}


def new_job(fields: Object) -> Object:
    """Return a new job without its webhook's secret, which is stored separately."""
    defaults: Object = {
        "description": None,
        "enabled": True,
        "trigger_type": None,
        "cron_schedule": None,
        "cron_timezone": "UTC",
        "overlap_policy": OVERLAP,
        "catch_up_seconds": CATCH_UP,
        "planning_mode": None,
        "entity_type": None,
        "entity_id": None,
        "prompt_template": None,
        "system_prompt": None,
        "executor_type": "auto",
        "worker_queue_name": None,
        "environment_name": None,
        "config": {},
        "execution_environment": {},
        "error_message": None,
    }
    return {**defaults, **{k: v for k, v in _without_name(fields).items() if k != "webhook_secret"}}


def new_notification(fields: Object) -> Object:
    defaults: Object = {"description": None, "enabled": True, "channel": None, "events": [], "filters": {}}
    defaults |= {"quiet_hours": None, "then": None, "budget_percent": None}
    return {**defaults, **_without_name(fields)}


def new_hook(fields: Object) -> Object:
    """Return a new hook; the agent or team that it is for is stored by its id."""
    defaults: Object = {
        "description": None,
        "enabled": True,
        "source": None,
        "entity_type": None,
        "entity_id": None,
        "queue": None,
        "prompt": None,
        "proof": None,
        "events": [],
        "match": {},
        "while_running": "message",
        "resolved": "message",
        "wait_for_resolved": False,
        "max_starts_per_minute": 6,
        "cooldown_seconds": 900,
        "priority": None,
        "reply": None,
    }
    return {**defaults, **{k: v for k, v in _without_name(fields).items() if k not in ("agent", "team")}}


def skill(raw: Object) -> Object:
    """Return one skill of an agent or team: its own, or a reference {name, ref, enabled} to a stored one."""
    if raw.get("ref"):
        return {"name": raw["ref"], "ref": raw["ref"], "enabled": bool(raw.get("enabled", True))}
    configuration = raw.get("configuration")
    return {
        "id": raw.get("id") or str(uuid.uuid4()),
        "name": raw.get("name") or raw["type"],
        "type": raw.get("type") or raw["name"],
        "description": raw.get("description") or "",
        "icon": raw.get("icon"),
        "enabled": bool(raw.get("enabled", True)),
        "configuration": configuration or {},
    }


def _without_name(fields: Object) -> Object:
    return {k: v for k, v in fields.items() if k != "name"}
