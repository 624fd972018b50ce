"""This module has the `docker` operations on existing containers; making new ones is in `run`."""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.docker import policy
from kubiya_worker.tools.docker.engine import ANSWER, Engine, EngineError, frames
from kubiya_worker.tools.docker.operation import Operation, container_of, described, size, table, text
from kubiya_worker.tools.processes.output import BoundedOutput

CONTAINER: Final = {"container": text("Name or id")}
STOP_SECONDS: Final = 10
LOG_LINES: Final = 200
_SHOWN: Final = (
    "NetworkMode",
    "RestartPolicy",
    "Memory",
    "NanoCpus",
    "Privileged",
    "CapAdd",
    "PidMode",
    "ReadonlyRootfs",
)


async def list_containers(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    containers = await engine.get("/containers/json", all=bool(arguments.get("all", False)))
    rows = []
    for container in containers:
        names = [str(name).removeprefix("/") for name in container.get("Names") or ()]
        if policy.container(limits, names, container.get("Labels")):
            rows.append(
                (
                    ",".join(names),
                    str(container["Image"]),
                    str(container["Status"]),
                    _ports(container),
                    str(container["Id"])[:12],
                )
            )
    return table(("name", "image", "status", "ports", "id"), rows, "No containers.")


def _ports(one: dict[str, Any]) -> str:
    ports = one.get("Ports") or ()
    texts = {
        f"{port.get('IP', '')}:{port['PublicPort']}->{port['PrivatePort']}/{port['Type']}"
        if port.get("PublicPort")
        else f"{port['PrivatePort']}/{port['Type']}"
        for port in ports
    }
    return ", ".join(sorted(texts)[:10])


async def inspect_container(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    """Return a container's details without the values of variables, which often are passwords."""
    container = await container_of(engine, limits, arguments["container"])
    config, state, host = container.get("Config") or {}, container.get("State") or {}, container.get("HostConfig") or {}
    health = state.get("Health") or {}
    return described(
        {
            "name": str(container.get("Name")).removeprefix("/"),
            "id": container.get("Id"),
            "created": container.get("Created"),
            "image": config.get("Image"),
            "state": {key: value for key, value in state.items() if key not in ("Health", "Pid")},
            "health": health.get("Status"),
            "last_health_checks": [str(check.get("Output"))[:300] for check in (health.get("Log") or ())[-3:]],
            "restarts": container.get("RestartCount"),
            "entrypoint": config.get("Entrypoint"),
            "command": config.get("Cmd"),
            "user": config.get("User"),
            "working_directory": config.get("WorkingDir"),
            "variables": [str(entry).partition("=")[0] for entry in config.get("Env") or ()],
            "labels": config.get("Labels"),
            "ports": (container.get("NetworkSettings") or {}).get("Ports"),
            "networks": {
                name: network.get("IPAddress")
                for name, network in ((container.get("NetworkSettings") or {}).get("Networks") or {}).items()
            },
            "mounts": [
                {key: mount.get(key) for key in ("Type", "Name", "Source", "Destination", "RW")}
                for mount in container.get("Mounts") or ()
            ],
            "host": {key: host[key] for key in _SHOWN if host.get(key)},
        },
        context.output_limit,
    )


async def logs(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    container = await container_of(engine, limits, arguments["container"])
    query = {
        "stdout": True,
        "stderr": True,
        "tail": str(int(arguments.get("lines") or LOG_LINES)),
        "timestamps": bool(arguments.get("timestamps", False)),
    }
    output = BoundedOutput(context.keep_limit)
    async with engine.chunks("GET", f"/containers/{container['Id']}/logs", query) as chunks:
        terminal = (container.get("Config") or {}).get("Tty")
        async for piece in chunks if terminal else frames(chunks):
            output.feed(piece)
    return ToolResult(output.text() or "[no output]", metadata={"characters_left_out": output.left_out})


async def stats(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    container = await container_of(engine, limits, arguments["container"])
    if not (container.get("State") or {}).get("Running"):
        raise policy.DockerRefused(f"The container {str(container['Name']).removeprefix('/')} does not run")
    raw = await engine.get(f"/containers/{container['Id']}/stats", stream=False)
    if not (raw.get("memory_stats") or {}).get("usage"):
        raise EngineError("The engine has no figures for this container (its host's control groups give none)")
    return described(usage(raw), context.output_limit)


def usage(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of `docker stats` from one reading. Pure."""
    cpu, before, memory = raw.get("cpu_stats") or {}, raw.get("precpu_stats") or {}, raw.get("memory_stats") or {}
    used = (cpu.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    percent = 100.0 * used / passed * (cpu.get("online_cpus") or 1) if passed > 0 else 0.0
    details = memory.get("stats") or {}
    cache = details.get("inactive_file", details.get("total_inactive_file", 0))
    networks = (raw.get("networks") or {}).values()
    return {
        "cpu_percent": round(percent, 1),
        "memory": size(max(memory.get("usage", 0) - cache, 0)),
        "memory_limit": size(memory.get("limit", 0)),
        "received": size(sum(one.get("rx_bytes", 0) for one in networks)),
        "sent": size(sum(one.get("tx_bytes", 0) for one in networks)),
        "processes": (raw.get("pids_stats") or {}).get("current"),
    }


async def start(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    return await _do(engine, limits, arguments, "start", "Started")


async def stop(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    return await _do(engine, limits, arguments, "stop", "Stopped", t=int(arguments.get("seconds", STOP_SECONDS)))


async def restart(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    return await _do(engine, limits, arguments, "restart", "Restarted", t=int(arguments.get("seconds", STOP_SECONDS)))


async def _do(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], verb: str, done: str, **query: Any
) -> ToolResult:
    container = await container_of(engine, limits, arguments["container"])
    await engine.call("POST", f"/containers/{container['Id']}/{verb}", query, within=ANSWER + query.get("t", 0))
    return ToolResult(f"{done} {str(container['Name']).removeprefix('/')}.")


async def remove(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    container = await container_of(engine, limits, arguments["container"])
    await engine.call(
        "DELETE", f"/containers/{container['Id']}", {"force": bool(arguments.get("force", False)), "v": True}
    )
    return ToolResult(f"Removed {str(container['Name']).removeprefix('/')}.")


_SECONDS: Final = {
    "seconds": {
        "type": "integer",
        "minimum": 0,
        "maximum": 60,
        "description": f"Until it is killed; default {STOP_SECONDS}",
    }
}
OPERATIONS: Final = (
    Operation(
        "list_containers",
        "List containers: those that run, or all.",
        list_containers,
        {"all": {"type": "boolean", "description": "Also those that do not run"}},
    ),
    Operation(
        "inspect_container",
        "Look at a container: state, exit code, health, command, ports, networks, mounts, limits. Variables are named "
        "without their values.",
        inspect_container,
        CONTAINER,
        ("container",),
        taints=True,
    ),
    Operation(
        "get_container_logs",
        "Read the last lines that a container wrote.",
        logs,
        {
            **CONTAINER,
            "lines": {"type": "integer", "minimum": 1, "maximum": 10_000, "description": f"Default {LOG_LINES}"},
            "timestamps": {"type": "boolean"},
        },
        ("container",),
        taints=True,
    ),
    Operation(
        "container_stats",
        "What a running container takes of processor, memory and network.",
        stats,
        CONTAINER,
        ("container",),
    ),
    Operation("start_container", "Start a container that is there.", start, CONTAINER, ("container",), changes=True),
    Operation(
        "stop_container",
        "Stop a container.",
        stop,
        {**CONTAINER, **_SECONDS},
        ("container",),
        changes=True,
        timeout=150,
    ),
    Operation(
        "restart_container",
        "Stop a container and start it again.",
        restart,
        {**CONTAINER, **_SECONDS},
        ("container",),
        changes=True,
        timeout=150,
    ),
    Operation(
        "remove_container",
        "Remove a container with its anonymous volumes.",
        remove,
        {**CONTAINER, "force": {"type": "boolean", "description": "Also when it runs"}},
        ("container",),
        changes=True,
    ),
)
