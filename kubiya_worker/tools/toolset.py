"""This module makes the tools of an execution from an agent's resolved skills.

Its table has one module per skill type.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker import templates
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import OWN_SKILL, ToolSpec
from kubiya_worker.tools import agent_communication, ask_person, custom, data_visualization, mcp, sleep
from kubiya_worker.tools.agent_skills import skill as agent_skills
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, Toolset, expanded
from kubiya_worker.tools.docker import skill as docker
from kubiya_worker.tools.files import generation
from kubiya_worker.tools.files import skill as files
from kubiya_worker.tools.http import skill as http
from kubiya_worker.tools.python import skill as python
from kubiya_worker.tools.shell import skill as shell
from kubiya_worker.tools.skill_configuration import Skill
from kubiya_worker.tools.ssh import skill as ssh

NAME_LIMIT: Final = 64  # characters of a tool's name that model providers take (docs/protocol.md#d4)

MODULES: Final = (
    *(shell, ssh, files, python, http, docker, generation, data_visualization, agent_communication),
    *(agent_skills, ask_person, custom, sleep),
)
# Keys of skills that take `{{.secret.NAME}}`: the secret is filled in at each call, or when the tool is made.
FILLED_AT_CALL: Final = ("headers", "hosts", "private_key")
FILLED_AT_START: Final = ("custom_config",)
_BUILDERS: Final = {kind: module for module in MODULES for kind in module.TYPES}

# Skill types of the published worker that this one does not have, and what to use instead.
_LATER: Final = "is not one of this worker's; remove it, or attach an MCP server that offers the same (docs/skills.md)"
_ABSENT: Final = dict.fromkeys(
    (
        "workflow_executor",
        "contextual_awareness",
        "context_graph_search",
        "knowledge_api",
        "cognitive_memory",
        "code_ingestion",
        "remote_filesystem",
        "slack",
    ),
    _LATER,
)


@dataclass(frozen=True)
class MissingSkill:
    """A skill that this worker cannot offer, and the error that says why."""

    name: str
    type: str
    error: ConfigurationError

    def line(self) -> str:
        """Return one line for a person: the skill, the reason, the remedy."""
        return f"The skill {self.name!r} ({self.type}) is not available in this run: {self.error.line()}"


def settings_at_start(skills: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the skills' settings whose templates `assemble` fills in; others are filled in at each call."""
    return [(skill.get("configuration") or {}).get(key) for skill in skills for key in FILLED_AT_START]


async def prepare(skills: Sequence[Mapping[str, Any]]) -> None:
    """Fetch what skills need before `assemble` makes their tools. What cannot be had, `assemble` tells."""
    await agent_skills.prepare(skills)


def assemble(
    skills: Sequence[Mapping[str, Any]], *, workspace: Path, secrets: Mapping[str, str] = templates.NONE
) -> tuple[Toolset, list[MissingSkill]]:
    """Return the tools of all enabled skills that can start, and the skills that cannot.

    `skills` is the resolved list of protocol.md#a8. The first skill that has a tool of a name gives it that name; each
    further tool of the name gets the name of its skill before it. A skill is taken whole or not at all: one with a
    configuration key that nobody reads would run without the restriction that the key was meant to be.
    """
    tools: list[Tool] = []
    owners: dict[str, str] = {}
    missing: list[MissingSkill] = []
    names: set[str] = set()
    for raw in skills:
        try:
            skill, built = _build(raw, workspace, secrets)
        except ConfigurationError as error:
            name = str(raw.get("name") or raw.get("id") or "unnamed")
            missing.append(MissingSkill(name, str(raw.get("type") or name), error))
            continue
        for tool in built:
            name = _free_name(tool.spec.name, skill, names)
            names.add(name)
            owners[name] = "" if raw.get("source") == OWN_SKILL else str(raw.get("id") or "")
            tools.append(tool if name == tool.spec.name else _Renamed(replace(tool.spec, name=name), tool))
    tools += [tool for tool in custom.offered() if tool.spec.name not in names]
    return Toolset(tools, owners), missing


def build_toolset(skills: Sequence[Mapping[str, Any]], *, workspace: Path) -> Toolset:
    """Return the tools of all enabled skills. Raises ConfigurationError for the first skill that cannot start."""
    toolset, missing = assemble(skills, workspace=workspace)
    for skill in missing:
        raise skill.error
    return toolset


def _build(raw: Mapping[str, Any], workspace: Path, secrets: Mapping[str, str]) -> tuple[str, list[Tool]]:
    """Return the skill's name and its tools; none for a skill that is switched off."""
    skill = Skill.parse(raw)
    if skill is None:
        return "", []
    module = _BUILDERS.get(skill.type)
    if module is None:
        raise _unknown(skill)
    skill.check_keys(module.KEYS)
    return skill.name, module.build(_with_secrets(skill, secrets), workspace)


def _with_secrets(skill: Skill, secrets: Mapping[str, str]) -> Skill:
    """Return the skill with the secrets that it needs at its start. One in a key that takes none is refused."""
    configuration = dict(skill.configuration)
    for key, value in skill.configuration.items():
        if key in FILLED_AT_START:
            configuration[key] = templates.resolve(value, {}, f"skill {skill.name!r}: `{key}`", secrets)
        elif key not in FILLED_AT_CALL and templates.secrets_in(value):
            accepted = ", ".join(f"`{known}`" for known in (*FILLED_AT_CALL, *FILLED_AT_START))
            raise ConfigurationError(
                f"skill {skill.name!r} ({skill.type}): `{key}` takes no {{{{.secret.NAME}}}}",
                remedy=f"These take one: {accepted}, and the variables and MCP servers of the agent",
            )
    return replace(skill, configuration=configuration)


def keys() -> dict[str, list[str]]:
    """Return the keys of the configuration of each type of skills, also by the types' other names."""
    return {kind: sorted(module.KEYS) for kind, module in _BUILDERS.items()}


def types() -> list[str]:
    """Return the types of skills that there are, with their other names."""
    return list(_BUILDERS)


def described() -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield each type of skill: its name, what it is, and its keys with what each is for."""
    for module in MODULES:
        line = (module.__doc__ or "").splitlines()[0]
        about = line.partition(": ")[2] or line
        yield module.TYPES[0], f"{about[:1].upper()}{about[1:]}", module.KEYS


def reference() -> str:
    """Return a Markdown reference of every skill with its keys, and of the keys of MCP servers."""
    parts = []
    for module, (name, about, keys) in zip(MODULES, described(), strict=True):
        names = ", ".join(f"`{each}`" for each in module.TYPES)
        parts.append(f"## {name}\n\n{about} Type: {names}.\n\n{_table(keys)}")
    parts.append(f"## MCP servers\n\nOf each server in `mcp_servers`.\n\n{_table(mcp.KEYS)}")
    absent = ", ".join(f"`{name}`" for name in _ABSENT)
    parts.append(
        f"## Not here\n\n{absent}: an execution runs without them and says so, or is refused where the agent's "
        'configuration has `"on_unsupported_skill": "fail"`. Attach an MCP server that offers the same.\n'
    )
    return "\n".join(parts)


def _table(keys: Mapping[str, str]) -> str:
    if not keys:
        return "No keys.\n"
    rows = "".join(f"| `{key}` | {text.replace('|', '&#124;')} |\n" for key, text in keys.items())
    return f"| key | meaning |\n|---|---|\n{rows}"


def _unknown(skill: Skill) -> ConfigurationError:
    known = sorted(_BUILDERS)
    if skill.type in _ABSENT:
        return ConfigurationError(
            f"skill {skill.name!r}: the type {skill.type!r} {_ABSENT[skill.type]}",
            remedy=f"Types that this worker runs: {', '.join(known)}",
        )
    near = difflib.get_close_matches(skill.type, [*known, *_ABSENT], 1)
    return ConfigurationError(
        f"skill {skill.name!r}: unknown type {skill.type!r}",
        remedy=f"Did you mean {near[0]!r}?" if near else f"Types that this worker runs: {', '.join(known)}",
    )


def _free_name(name: str, skill: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    slug = re.sub(r"[^A-Za-z0-9-]+", "_", skill).strip("_").lower() or "skill"
    base = f"{slug[: NAME_LIMIT - len(name) - 4]}_{name}"
    candidate, number = base, 1
    while candidate in taken:
        number += 1
        candidate = f"{slug[: NAME_LIMIT - len(name) - 4]}_{number}_{name}"
    return candidate


@dataclass(frozen=True)
class _Renamed:
    """A tool under another name."""

    spec: ToolSpec
    tool: Tool

    def expanded(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return expanded(self.tool, arguments)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return await self.tool.run(arguments, context)
