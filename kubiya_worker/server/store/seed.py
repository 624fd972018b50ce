"""This module creates the sample agent and the sample team of a new control plane."""

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

TEAM = "triage"
LEAD = (
    "You lead the triage of incidents. Find out from your members what happened, what state the host is in and what "
    "follows from it, then have the report written. Answer with the cause, the evidence and the next step."
)
MEMBERS = {  # name -> (description, prompt, skills)
    "logs": (
        "Reads logs: finds errors in log files and folders",
        "You read logs. Find the errors, count them, say what kinds there are and when the last one was.",
        [
            {
                "name": "shell",
                "type": "shell",
                "configuration": {"allowed_commands": ["grep", "tail", "head", "cat", "ls"], "read_paths": ["/srv"]},
            }
        ],
    ),
    "host": (
        "Checks disk space and processes of the host",
        "You check the state of the host: what fills its disks, and which processes use most.",
        [{"name": "shell", "type": "shell", "configuration": {"allowed_commands": COMMANDS, "timeout": 60}}],
    ),
    "writer": (
        "Writes the report of an incident into a file",
        "You write reports: short, with facts only, in the file that you are told.",
        [{"name": "files", "type": "file_system", "configuration": {}}],
    ),
}


def ensure_sample(plane: Plane, organization_id: str, model: str) -> None:
    """Create what a new control plane begins with.

    It is the environment and the queue `default`, the agent `ops`, the team `triage`, and a rule that asks before files
    are written. Objects that exist keep a person's edits.
    """
    environment = plane.stores.environments.find(organization_id, "default") or plane.stores.environments.create(
        organization_id, "default", definitions.new_environment({})
    )
    if plane.stores.queues.find(organization_id, "default") is None:
        plane.stores.queues.create(organization_id, "default", definitions.new_queue({}, environment["id"]))
    if plane.stores.agents.find(organization_id, AGENT) is None:
        agent = {
            "description": "A careful system administrator",
            "system_prompt": PROMPT,
            "model_id": model,
            "skills": [
                {"name": "shell", "type": "shell", "configuration": {"allowed_commands": COMMANDS, "timeout": 60}},
                {"name": "files", "type": "file_system", "configuration": {}},
            ],
        }
        plane.stores.agents.create(organization_id, AGENT, definitions.new_agent(agent))
    if plane.stores.rules.find(organization_id, RULE) is None:
        rule = {
            "description": "A person approves each file that an agent writes",
            "scope_type": "tool",
            "scope_value": "save_file",
        }
        plane.stores.rules.create(organization_id, RULE, definitions.new_rule(rule))
    if plane.stores.teams.find(organization_id, TEAM) is None:
        ids = [_member(plane, organization_id, name, model) for name in MEMBERS]
        configuration = {"member_ids": ids, "instructions": LEAD, "mode": "coordinate", "llm": {"model": model}}
        team = {"description": "Finds out why something is down", "configuration": configuration}
        plane.stores.teams.create(organization_id, TEAM, definitions.new_team(team))


def _member(plane: Plane, organization_id: str, name: str, model: str) -> str:
    known = plane.stores.agents.find(organization_id, name)
    if known is None:
        description, prompt, skills = MEMBERS[name]
        agent = {"description": description, "system_prompt": prompt, "model_id": model, "skills": skills}
        known = plane.stores.agents.create(organization_id, name, definitions.new_agent(agent))
    return str(known["id"])
