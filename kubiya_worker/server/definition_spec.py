"""This module says which `spec` a stored object has, what a spec makes of an object, and how two specs differ. Pure.

A definition file holds the whole definition: a field that its spec does not name has its default value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

from kubiya_worker.server.edges import manifests
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object

Named = Callable[[str], str]  # from an id to a name, or from a name to an id; what is not known stays as it is

_DEFAULTS: Final[dict[str, Callable[[Object], Object]]] = {
    "Skill": definitions.new_skill,
    "MCPServer": definitions.new_mcp_server,
    "Environment": definitions.new_environment,
    "Queue": lambda given: definitions.new_queue(given, ""),
    "Model": definitions.new_model,
    "Agent": definitions.new_agent,
    "Team": definitions.new_team,
    "Rule": definitions.new_rule,
    "Job": definitions.new_job,
    "Notification": definitions.new_notification,
    "Hook": definitions.new_hook,
}
_SKILL: Final = definitions.skill({"type": "x"})


def record_of(kind: str, spec: Object, agent_id: Named, environment_id: Named) -> Object:
    """Return the fields of the stored object that a spec describes, each with its value or its default.

    Members, leaders and environments become ids. Skills have new ids: see `keep_ids`.
    """
    whole = _DEFAULTS[kind](copy.deepcopy(spec))
    fields = {name: whole[name] for name in whole if name in manifests.taken(kind) - manifests.REFERENCES}
    if kind == "Queue":
        fields |= {name: spec.get(name) for name in ("worker_type", "auto_cleanup_after_seconds")}
    if kind == "Job":
        fields |= {"trigger_type": spec.get("trigger_type") or "manual", "executor_type": _executor(spec)}
    return _with_names(kind, fields, agent_id, environment_id)


def _executor(spec: Object) -> str:
    """Return where a job runs; a queue or an environment that is named says it."""
    named = "specific_queue" if spec.get("worker_queue_name") else "environment" if spec.get("environment_name") else ""
    return str(spec.get("executor_type") or named or "auto")


def keep_ids(fields: Object, current: Object) -> Object:
    """Return the fields with the ids that the current object's skills of the same name and type have."""
    if "skills" not in fields:
        return fields
    known = {_key(skill): skill["id"] for skill in current.get("skills") or () if "id" in skill}
    skills = [
        {**skill, "id": known.get(_key(skill), skill["id"])} if "id" in skill else skill for skill in fields["skills"]
    ]
    return {**fields, "skills": skills}


def _key(skill: Object) -> tuple[str, str]:
    return skill["type"], skill["name"]


def spec_of(kind: str, record: Object, agent_name: Named, environment_name: Named) -> Object:
    """Return the spec of a stored object: the fields that do not have their default value, with names in place of ids.

    The caller adds what other objects know: a queue's environment, and a job's agent or team.
    """
    default = record_of(kind, {}, str, str)
    named = _with_names(kind, record, agent_name, environment_name)
    spec = {}
    for name in sorted(manifests.taken(kind)):
        value, normal = named.get(name), default.get(name)
        if name == "skills":
            value, normal = ([_skill(skill) for skill in skills or ()] for skills in (value, normal))
        if value != normal and value is not None:
            spec[name] = value
    if kind == "Job" and spec.get("executor_type") == _executor({**spec, "executor_type": None}):
        del spec["executor_type"]  # the queue or the environment says it
    return spec


def _skill(skill: Object) -> Object:
    """Return what a person writes of a skill: no id, and nothing that has its default value."""
    shown = {name: value for name, value in skill.items() if name != "id" and value != _SKILL.get(name)}
    if shown.get("name") in (shown.get("type"), shown.get("ref")):
        del shown["name"]
    return shown


def _with_names(kind: str, fields: Object, agent: Named, environment: Named) -> Object:
    fields = dict(fields)
    if fields.get("environment_ids"):
        fields["environment_ids"] = [environment(each) for each in fields["environment_ids"]]
    if kind == "Team" and fields.get("configuration"):
        configuration = dict(fields["configuration"])
        if isinstance(configuration.get("member_ids"), list):
            configuration["member_ids"] = [agent(each) for each in configuration["member_ids"]]
        if configuration.get("leader_id"):
            configuration["leader_id"] = agent(configuration["leader_id"])
        if isinstance(configuration.get("member_queues"), dict):
            configuration["member_queues"] = {agent(k): v for k, v in configuration["member_queues"].items()}
        fields["configuration"] = configuration
    return fields


def differences(before: Object | None, after: Object | None) -> list[Object]:
    """Return each place that differs: {path: "spec.skills[0].type", before?, after?}; a side that lacks it has no key.

    Lists are compared item by item when they have the same length, else as a whole.
    """
    return list(_differences("spec", before or {}, after or {}))


def _differences(path: str, before: Any, after: Any) -> Iterator[Object]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            place = f"{path}.{name}"
            if name not in before:
                yield {"path": place, "after": after[name]}
            elif name not in after:
                yield {"path": place, "before": before[name]}
            else:
                yield from _differences(place, before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{number}]", one, other)
    elif before != after:
        yield {"path": path, "before": before, "after": after}
