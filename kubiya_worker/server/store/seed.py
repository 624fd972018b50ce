"""The sample agent of a fresh control plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubiya_worker.server.store import definitions

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

AGENT = "ops"
RULE = "written files"
PROMPT = (
    "You are a careful system administrator. Find out before you conclude: use your tools, read only what you need, "
    "change nothing without need. Answer with the facts that you found, the biggest first, and what to do about them."
)
COMMANDS = "du df find ls stat sort head tail cat grep wc ps uptime free uname date".split()  # noqa: SIM905 - reads better


def ensure_sample(plane: Plane, organization_id: str, model: str) -> None:
    """Environment and queue `default`, agent `ops`, a rule that has people approve written files. Edits stay."""
    environment = plane.environments.find(organization_id, "default") or plane.environments.create(
        organization_id, "default", definitions.new_environment({})
    )
    if plane.queues.find(organization_id, "default") is None:
        plane.queues.create(organization_id, "default", definitions.new_queue({}, environment["id"]))
    if plane.agents.find(organization_id, AGENT) is None:
        agent = {
            "description": "A careful system administrator",
            "system_prompt": PROMPT,
            "model_id": model,
            "skills": [
                {"name": "shell", "type": "shell", "configuration": {"allowed_commands": COMMANDS, "timeout": 60}},
                {"name": "files", "type": "file_system", "configuration": {}},
            ],
        }
        plane.agents.create(organization_id, AGENT, definitions.new_agent(agent))
        rule = {
            "description": "A person approves each file that an agent writes",
            "scope_type": "tool",
            "scope_value": "save_file",
        }
        if plane.rules.find(organization_id, RULE) is None:
            plane.rules.create(organization_id, RULE, definitions.new_rule(rule))
