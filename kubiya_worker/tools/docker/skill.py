"""Skill `docker`: containers, images, volumes and networks of a Docker engine.

What may be done is `policy`, how the engine is asked is `engine`; each kind of object has a module of its
own with its tools. Here: the configuration, and a table out of which the tools are made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.docker import containers, engine, objects, run
from kubiya_worker.tools.docker.operation import Operation
from kubiya_worker.tools.docker.policy import ANY, DockerLimits, DockerRefused
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("docker",)
KEYS: Final = {
    "enable_container_management": "Tools for containers (true)",
    "enable_image_management": "Tools for images (true)",
    "enable_volume_management": "Tools for volumes (false)",
    "enable_network_management": "Tools for networks (false)",
    "docker_host": "unix:///path/of/docker.sock or tcp://host:port of the engine (the worker's DOCKER_HOST, or "
    "unix:///var/run/docker.sock)",
    "read_only": "Ours: whether only the tools are offered that look (false)",
    "allowed_operations": "Ours: the tools that are offered, of those that the keys above leave (all)",
    "allowed_images": "Ours: images that may be run, pulled and removed, with `*`; without a tag, every tag (any)",
    "allowed_containers": "Ours: names of containers that may be seen and used, with `*` (any)",
    "allowed_networks": "Ours: names of networks that may be used, with `*` (any but the host's)",
    "allowed_volumes": "Ours: names of volumes that may be used, with `*` (any)",
    "allowed_host_paths": "Ours: folders of the host that containers may have mounted, with all below (none)",
    "allow_privileged": "Ours: whether containers may be privileged, have devices or added capabilities (false)",
    "allow_host_namespaces": "Ours: whether containers may share the host's network, processes … (false)",
    "published_address": "Ours: the host's address at which ports are published (127.0.0.1)",
    "max_memory": 'Ours: bytes, or a string such as "1GB", that one container may take (2GB)',
    "timeout": "Ours: seconds of one command in a container, 1 to 3600 (300)",
}
GROUPS: Final = {
    "enable_container_management": (True, (*containers.OPERATIONS, *run.OPERATIONS)),
    "enable_image_management": (True, objects.IMAGES),
    "enable_volume_management": (False, objects.VOLUMES),
    "enable_network_management": (False, objects.NETWORKS),
}


def build(skill: Skill, workspace: Path) -> list[Tool]:
    address = _address(skill)
    limits = _limits(skill, address)
    offered = [
        operation
        for key, (default, operations) in GROUPS.items()
        if skill.flag(key, default)
        for operation in operations
        if not (operation.changes and skill.flag("read_only", False))
    ]
    allowed = skill.strings("allowed_operations", None)
    for name in allowed or ():
        if name not in {operation.name for operation in offered}:
            raise skill.wrong(
                "allowed_operations",
                f"a list of tools that the other keys leave; {name!r} is none of "
                f"{', '.join(operation.name for operation in offered) or 'none'}",
            )
    return [
        DockerTool(operation, limits, address) for operation in offered if allowed is None or operation.name in allowed
    ]


class DockerTool:
    """One operation of the table as a tool."""

    def __init__(self, operation: Operation, limits: DockerLimits, address: engine.EngineAddress) -> None:
        self._operation, self._limits, self._address = operation, limits, address
        self.spec = _spec(operation, limits)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        try:
            async with engine.connected(self._address) as connection:
                return await self._operation.call(connection, self._limits, arguments, context)
        except DockerRefused as refused:
            return refusal(str(refused))
        except engine.EngineError as error:
            return ToolResult(f"{error}.", error=str(error), metadata={"status": error.status}, taints=False)


def _spec(operation: Operation, limits: DockerLimits) -> ToolSpec:
    strong = limits.privileged or limits.host_namespaces or "/" in limits.host_paths
    risk = "low" if not operation.changes else "critical" if operation.runs and strong else "high"
    return ToolSpec(
        name=operation.name,
        description=operation.description,
        parameters={
            "type": "object",
            "properties": operation.properties(limits),
            "required": list(operation.required),
            "additionalProperties": False,
        },
        idempotent=not operation.changes,
        risk=risk,
        category="command_execution" if operation.runs else "general",
        timeout=operation.timeout or limits.timeout + 60,
        taints=operation.taints,
        effects=("exec", "write", "egress") if operation.runs else ("write",) if operation.changes else (),
    )


def _address(skill: Skill) -> engine.EngineAddress:
    url = skill.text("docker_host") or os.environ.get("DOCKER_HOST") or engine.DEFAULT_ADDRESS
    try:
        return engine.EngineAddress.parse(url, os.environ)
    except ValueError as error:
        if skill.text("docker_host"):
            raise skill.wrong("docker_host", str(error)) from None
        raise skill.wrong("docker_host", f"given: the worker's DOCKER_HOST is not {error}") from None


def _limits(skill: Skill, address: engine.EngineAddress) -> DockerLimits:
    paths = skill.strings("allowed_host_paths", ()) or ()
    if not all(path.startswith("/") and ".." not in path.split("/") for path in paths):
        raise skill.wrong("allowed_host_paths", "a list of absolute paths")
    published = skill.text("published_address") or "127.0.0.1"
    if not _is_address(published):
        raise skill.wrong("published_address", "an IP address, such as 127.0.0.1 or 0.0.0.0")
    return DockerLimits(
        images=_patterns(skill, "allowed_images"),
        containers=_patterns(skill, "allowed_containers"),
        networks=_patterns(skill, "allowed_networks"),
        volumes=_patterns(skill, "allowed_volumes"),
        host_paths=tuple(paths),
        privileged=skill.flag("allow_privileged", False),
        host_namespaces=skill.flag("allow_host_namespaces", False),
        memory=skill.size("max_memory", None) or DockerLimits.memory,
        timeout=skill.number("timeout", DockerLimits.timeout, 1, 3600),
        published_address=published,
        local=address.local,
    )


def _patterns(skill: Skill, key: str) -> tuple[str, ...]:
    return _any_or_all(skill.strings(key, ANY) or ())


def _any_or_all(patterns: Iterable[str]) -> tuple[str, ...]:
    return ANY if "*" in (allowed := tuple(patterns)) else allowed


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
