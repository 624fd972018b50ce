"""This module makes stored objects from request bodies: environments, queues, agents, teams, jobs. Pure.

Each `*_FIELDS` table names what a client may set, with its JSON type; the rest of a body is ignored.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from kubiya_worker.server.store.records import Object

ENVIRONMENT_FIELDS: Final[dict[str, type]] = {
    "name": str,
    "display_name": str,
    "description": str,
    "tags": list,
    "settings": dict,
    "execution_environment": dict,
}
QUEUE_FIELDS: Final[dict[str, type]] = {
    "name": str,
    "display_name": str,
    "description": str,
    "max_workers": int,
    "heartbeat_interval": int,
    "tags": list,
    "settings": dict,
    "status": str,
    "ephemeral": bool,
    "single_execution_mode": bool,
    "worker_type": str,
    "auto_cleanup_after_seconds": int,
    "parent_execution_id": str,
}
AGENT_FIELDS: Final[dict[str, type]] = {
    "name": str,
    "description": str,
    "system_prompt": str,
    "capabilities": list,
    "configuration": dict,
    "model_id": str,
    "llm_config": dict,
    "runtime": str,
    "runner_name": str,
    "team_id": str,
    "environment_ids": list,
    "execution_environment": dict,
    "skills": list,
    "status": str,
}
TEAM_FIELDS: Final[dict[str, type]] = {
    "name": str,
    "description": str,
    "runtime": str,
    "configuration": dict,
    "skills": list,
    "execution_environment": dict,
    "environment_ids": list,
    "status": str,
}
RULE_FIELDS: Final[dict[str, type]] = {
    "name": str,
    "description": str,
    "scope_type": str,
    "scope_value": str,
    "approver_type": str,
    "approver_value": str,
    "auto_approve_roles": list,
    "require_reason": bool,
    "timeout_minutes": int,
    "enabled": bool,
    "priority": int,
    "action": str,
    "argument_pattern": str,
}
JOB_FIELDS: Final[dict[str, type]] = {
    "name": str,
    "description": str,
    "enabled": bool,
    "trigger_type": str,
    "cron_schedule": str,
    "cron_timezone": str,
    "planning_mode": str,
    "entity_type": str,
    "entity_id": str,
    "prompt_template": str,
    "system_prompt": str,
    "executor_type": str,
    "worker_queue_name": str,
    "environment_name": str,
    "config": dict,
    "execution_environment": dict,
    "webhook_secret": str,
}
SCOPES: Final = ("tool", "risk_level", "category", "all")
ACTIONS: Final = ("ask", "allow", "deny")  # our own field; a rule without an action asks
LONGEST_TIMEOUT: Final = 43_200  # minutes
HEARTBEAT_INTERVAL: Final = (
    30  # seconds: the published default of 60 leaves one lost beat of slack (docs/protocol.md#h5)
)
DEFAULT_SKILL: Final[Object] = {"name": "shell", "type": "shell", "description": "Runs commands"}


def new_environment(given: Object) -> Object:
    defaults: Object = {
        "display_name": None,
        "description": None,
        "tags": [],
        "settings": {},
        "execution_environment": {},
        "status": "ready",
    }
    return {**defaults, **_without_name(given)}


def new_queue(given: Object, environment_id: str) -> Object:
    defaults: Object = {
        "display_name": None,
        "description": None,
        "status": "active",
        "max_workers": None,
        "heartbeat_interval": HEARTBEAT_INTERVAL,
        "tags": [],
        "settings": {},
        "ephemeral": str(given.get("name") or "").startswith("local-exec"),
        "single_execution_mode": False,
        "created_by": None,
    }
    return {**defaults, **_without_name(given), "environment_id": environment_id}


def new_agent(given: Object) -> Object:
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
    given = _without_name(given)
    return {**defaults, **given, "skills": [skill(s) for s in given.get("skills", [DEFAULT_SKILL])]}


def new_team(given: Object) -> Object:
    defaults: Object = {
        "description": None,
        "runtime": "default",
        "configuration": {},
        "execution_environment": {},
        "environment_ids": [],
        "status": "active",
    }
    given = _without_name(given)
    return {**defaults, **given, "skills": [skill(s) for s in given.get("skills", [])]}


def new_rule(given: Object) -> Object:
    defaults: Object = {
        "description": None,
        "scope_value": None,
        "approver_type": None,
        "approver_value": None,
        "auto_approve_roles": [],
        "require_reason": False,
        "timeout_minutes": 1440,
        "enabled": True,
        "priority": 0,
        "action": "ask",
        "argument_pattern": None,
    }
    return {**defaults, **_without_name(given)}


def new_job(given: Object) -> Object:
    """Return a new job without its webhook's secret, which is stored separately."""
    defaults: Object = {
        "description": None,
        "enabled": True,
        "trigger_type": None,
        "cron_schedule": None,
        "cron_timezone": "UTC",
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
    return {**defaults, **{k: v for k, v in _without_name(given).items() if k != "webhook_secret"}}


def skill(raw: Any) -> Object:
    """Return one skill of an agent or team; raise ValueError when it has no type."""
    if not isinstance(raw, dict) or not isinstance(raw.get("type") or raw.get("name"), str):
        raise ValueError("a skill is an object with a type")
    for field in ("id", "name", "type", "description"):
        if not isinstance(raw.get(field) or "", str):
            raise ValueError(f"the {field} of a skill is a string")
    configuration = raw.get("configuration")
    if configuration is not None and not isinstance(configuration, dict):
        raise ValueError("the configuration of a skill is an object")
    return {
        "id": raw.get("id") or str(uuid.uuid4()),
        "name": raw.get("name") or raw["type"],
        "type": raw.get("type") or raw["name"],
        "description": raw.get("description") or "",
        "icon": raw.get("icon"),
        "enabled": bool(raw.get("enabled", True)),
        "configuration": configuration or {},
    }


def fault_of_environment(environment: Object) -> str:
    """Return what is wrong with an `execution_environment`, or an empty text."""
    for name in ("env_vars", "mcp_servers"):
        if not isinstance(environment.get(name) or {}, dict):
            return f"{name} is an object"
    if not isinstance(environment.get("working_dir") or "", str):
        return "working_dir is a string"
    return ""


def _without_name(given: Object) -> Object:
    return {k: v for k, v in given.items() if k != "name"}
