"""The sample agent of a fresh control plane."""

from __future__ import annotations

from kubiya_worker.server.api.agents import new_agent
from kubiya_worker.server.api.queues import new_environment, new_queue
from kubiya_worker.server.auth import ORGANIZATION
from kubiya_worker.server.plane import Plane

PROMPT = (
    "You are a careful system administrator. Find out before you conclude: use your tools, read only what you need, "
    "change nothing without need. Answer with the facts that you found, the biggest first, and what to do about them."
)
COMMANDS = "du df find ls stat sort head tail cat grep wc ps uptime free uname date".split()  # noqa: SIM905 - reads better


def ensure_sample(plane: Plane, model: str) -> None:
    """Environment and queue `default`, agent `ops`, a rule that has people approve written files. Edits stay."""
    environment = plane.environments.find(ORGANIZATION, "default")
    environment = environment or plane.environments.create(ORGANIZATION, "default", new_environment({}))
    if plane.queues.find(ORGANIZATION, "default") is None:
        plane.queues.create(ORGANIZATION, "default", new_queue({}, environment["id"]))
    if plane.agents.find(ORGANIZATION, "ops") is None:
        skills = [
            {"name": "shell", "type": "shell", "configuration": {"allowed_commands": COMMANDS, "timeout": 60}},
            {"name": "files", "type": "file_system", "configuration": {}},
        ]
        body = {
            "description": "A careful system administrator",
            "system_prompt": PROMPT,
            "model_id": model,
            "skills": skills,
        }
        plane.agents.create(ORGANIZATION, "ops", new_agent(body))
        rule = {
            "description": "A person approves each file that an agent writes",
            "scope_type": "tool",
            "scope_value": "save_file",
            "enabled": True,
            "priority": 0,
            "timeout_minutes": 1440,
        }
        if plane.rules.find(ORGANIZATION, "written files") is None:
            plane.rules.create(ORGANIZATION, "written files", rule)
