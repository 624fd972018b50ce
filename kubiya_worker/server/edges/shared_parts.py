"""This module models skills and MCP servers that agents, teams and environments name, in place of repeating them."""

from __future__ import annotations

from typing import Annotated, Any

from kubiya_worker.server.edges.base import Filled, Json, Name, NotSupported, Number, Strict, one_of, within
from kubiya_worker.server.edges.skill_types import SkillType

# The most that a worker takes, in seconds: tools/mcp/config.py.
_START = within(1, 300, "seconds")
_CALL = within(1, 3600, "seconds")
_VALUE = str | int | float | bool
_FIXED = NotSupported("Others refer to it by its name: make another one, and name that")


class SkillPatch(Strict):
    """A skill that several agents and teams have; its configuration is in docs/reference/skills.md."""

    name: Annotated[Any, _FIXED] = None
    type: SkillType | None = None
    description: str | None = None
    icon: str | None = None
    enabled: bool | None = None
    configuration: Json | None = None


class NewSkill(SkillPatch):
    name: Name
    type: SkillType


class McpOauth(Strict):
    """Client credentials with which a bearer token is fetched."""

    token_url: Filled | None = None
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None
    audience: str | None = None


class McpServerPatch(Strict):
    """An MCP server that several agents, teams and environments have: a `command` or a `url`, and how it is used.

    What the keys mean is in docs/reference/skills.md.
    """

    name: Annotated[Any, _FIXED] = None
    command: Filled | None = None
    args: list[_VALUE] | None = None
    env: dict[str, _VALUE] | None = None
    envFile: Filled | None = None
    cwd: Filled | None = None
    url: Filled | None = None
    type: Annotated[str, one_of("stdio", "http", "sse")] | None = None
    headers: dict[str, _VALUE] | None = None
    oauth: McpOauth | None = None
    enabled: bool | None = None
    timeout: Annotated[Number, _START] | None = None
    call_timeout: Annotated[Number, _CALL] | None = None
    max_call_timeout: Annotated[Number, _CALL] | None = None
    required: bool | None = None
    shared: bool | None = None
    tools: list[Filled] | None = None
    excludeTools: list[Filled] | None = None
    confinement: Annotated[str, one_of("on", "off")] | bool | None = None
    read_paths: list[Filled] | None = None
    write_paths: list[Filled] | None = None
    grants: list[Filled] | None = None
    network: bool | None = None
    description: str | None = None
    disabled: Annotated[Any, NotSupported("Set enabled")] = None
    autoApprove: Annotated[Any, NotSupported("Approval rules decide what runs")] = None


class NewMcpServer(McpServerPatch):
    name: Name
