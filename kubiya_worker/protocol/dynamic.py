"""The input and result of dynamic executions (protocol.md#b3, #b5), converted to those of all others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.search import SHOWS_STATUS


def loop_input(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the loop's input with the entity as `definition`.

    The control plane is asked only for the entity's skills, by id.
    """
    config = dict(raw.get("agent_config") or {})
    entity_id = str(raw.get("entity_id") or "")
    servers = {**(config.get("mcp_servers") or {}), **(raw.get("mcp_servers") or {})}
    definition = {
        "name": str(raw.get("entity_name") or config.get("name") or entity_id),
        "system_prompt": raw.get("system_prompt") or config.get("system_prompt") or "",
        "model_id": raw.get("model_id"),
        "llm_config": raw.get("model_config") or {},
        "skill_ids": [str(i) for i in raw.get("skill_ids") or ()],
        "environment": {"mcp_servers": servers},
    }
    kept = ("execution_id", "organization_id", "prompt", "user_metadata", "initial_message_timestamp", "sequel")
    about = {name: raw[name] for name in (*kept, SHOWS_STATUS) if name in raw}
    return {**about, "agent_id": entity_id, "agent_config": config, "mcp_servers": servers, "definition": definition}


def result_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result with upper-case statuses, which callers of these executions expect."""
    good = result.get("status") == ex.COMPLETED
    data = {
        "status": "COMPLETED" if good else "FAILED",
        "response": result.get("response"),
        "usage": result.get("usage") or {},
        "execution_id": result.get("execution_id"),
    }
    return data if good else {**data, "error_message": result.get("error") or result.get("status")}
