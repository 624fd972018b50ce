"""This module runs programs for the skill `docker`: in a new container, or in an existing one."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.docker import policy
from kubiya_worker.tools.docker.engine import ANSWER, Engine, EngineError, frames, segment
from kubiya_worker.tools.docker.operation import Operation, container_of, text
from kubiya_worker.tools.processes.output import BoundedOutput
from kubiya_worker.tracing import current

CALL_LABEL: Final = "kubiya.tool-call"  # a label that names the container's execution and call
EXECUTION_LABEL: Final = "kubiya.execution-id"
# A label with the time (seconds since 1970) after which nobody waits for the container.
DEADLINE_LABEL: Final = "kubiya.deadline"
SLACK: Final = 60.0  # seconds after that
CLEANING: Final = 20.0  # seconds that removing may take
KILLED: Final = 128 + 9
MOST_PROCESSES: Final = 1024
_PORT: Final = re.compile(r"(\d{1,5})(/(?:tcp|udp|sctp))?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")


async def run_container(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    """Run a program in a new container.

    A container that is waited for is always removed; if its worker was killed, the next run removes it.
    """
    body = await creation(engine, limits, arguments)
    mark = f"{context.execution_id}/{context.tool_call_id}"
    timeout = min(float(arguments.get("timeout") or limits.timeout), limits.timeout)
    background = bool(arguments.get("background", False))
    body["Labels"] = {CALL_LABEL: mark, EXECUTION_LABEL: context.execution_id}
    if not background:
        body["Labels"][DEADLINE_LABEL] = str(int(time.time() + timeout + SLACK))
    await _sweep(engine)
    left_running = False
    try:
        created = await engine.call("POST", "/containers/create", {"name": arguments.get("name")}, body)
        if background:
            await engine.call("POST", f"/containers/{created['Id']}/start")
            left_running = True
            details = await engine.get(f"/containers/{created['Id']}/json")
            name = str(details["Name"]).removeprefix("/")
            return ToolResult(f"{name} was started ({created['Id'][:12]}).", metadata={"container": name}, taints=False)
        return await _follow(engine, created["Id"], timeout, context)
    except EngineError as error:
        if error.status == 404 and "image" in str(error).lower():
            raise EngineError(f"{error} (pull_image fetches an image)", 404) from None
        raise
    finally:
        if not left_running:
            await asyncio.shield(_remove_all(engine, f"{CALL_LABEL}={mark}"))


async def _follow(engine: Engine, identity: str, timeout: float, context: ToolContext) -> ToolResult:
    """Start the container and return its output.

    Attach first, as the logs of a container that ends can lose their end.
    """
    output = BoundedOutput(context.keep_limit)
    began, timed_out = time.monotonic(), False
    query = {"stdout": True, "stderr": True, "stream": True}
    try:
        async with (
            asyncio.timeout(timeout),
            engine.chunks("POST", f"/containers/{identity}/attach", query) as chunks,
        ):
            await engine.call("POST", f"/containers/{identity}/start")
            async for piece in frames(chunks):
                output.feed(piece)
            await engine.call("POST", f"/containers/{identity}/wait", within=ANSWER)
    except TimeoutError:
        timed_out = True
    state = (await engine.get(f"/containers/{identity}/json")).get("State") or {}
    error = None
    if timed_out:
        error = f"timed out after {timeout:g} seconds, and was removed"
    elif state.get("OOMKilled"):
        error = "it ran out of memory"
    elif state.get("ExitCode"):
        error = f"exit code {state['ExitCode']}" + (" (killed)" if state["ExitCode"] == KILLED else "")
    return _result(output, error, {"exit_code": state.get("ExitCode"), "seconds": round(time.monotonic() - began, 3)})


async def exec_in_container(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    """Run a program in an existing container.

    The engine cannot end it, so a slow one goes on and the result says so.
    """
    container = await container_of(engine, limits, arguments["container"])
    await _refuse_reach(engine, limits, container)
    timeout = min(float(arguments.get("timeout") or limits.timeout), limits.timeout)
    fields = {
        "AttachStdout": True,
        "AttachStderr": True,
        "Cmd": arguments["command"],
        "User": arguments.get("user"),
        "WorkingDir": arguments.get("working_directory"),
        "Env": _variables(arguments),
    }
    set_fields = {key: value for key, value in fields.items() if value is not None}
    process = await engine.call("POST", f"/containers/{container['Id']}/exec", body=set_fields)
    output, error = BoundedOutput(context.keep_limit), None
    began = time.monotonic()
    try:
        async with (
            asyncio.timeout(timeout),
            engine.chunks("POST", f"/exec/{process['Id']}/start", body={"Detach": False, "Tty": False}) as chunks,
        ):
            async for piece in frames(chunks):
                output.feed(piece)
    except TimeoutError:
        error = f"timed out after {timeout:g} seconds; it may still run in the container"
    ended = await engine.get(f"/exec/{process['Id']}/json")
    code = ended.get("ExitCode")
    if error is None and code:
        error = f"exit code {code}"
    return _result(output, error, {"exit_code": code, "seconds": round(time.monotonic() - began, 3)})


async def _refuse_reach(engine: Engine, limits: policy.DockerLimits, container: Mapping[str, Any]) -> None:
    volumes = {
        str(mount["Name"]): await engine.get(f"/volumes/{segment(str(mount['Name']))}")
        for mount in container.get("Mounts") or ()
        if mount.get("Type") == "volume" and mount.get("Name")
    }
    reaches = policy.reach(limits, container, volumes)
    if reaches:
        raise policy.DockerRefused(
            f"No program may be run in {str(container['Name']).removeprefix('/')}, since it reaches the host: "
            f"{'; '.join(reaches[:5])}"
        )


async def creation(engine: Engine, limits: policy.DockerLimits, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that makes the container; raise DockerRefused for what the configuration does not allow."""
    if arguments.get("name"):
        policy.check(limits.containers, policy.name(str(arguments["name"]), "container"), "container")
    elif limits.containers != policy.ANY:
        raise policy.DockerRefused(f"Give a `name` that `allowed_containers` has ({', '.join(limits.containers)})")
    privileged = bool(arguments.get("privileged", False))
    if privileged and not limits.privileged:
        raise policy.DockerRefused("Privileged containers are not allowed (`allow_privileged`)")
    if arguments.get("host_processes") and not limits.host_namespaces:
        raise policy.DockerRefused("The host's processes may not be shared (`allow_host_namespaces`)")
    ports = dict(_port(key, value, limits) for key, value in (arguments.get("ports") or {}).items())
    host: dict[str, Any] = {
        "NetworkMode": await network_mode(engine, limits, arguments.get("network")),
        "Mounts": [await _mount(engine, limits, mount) for mount in arguments.get("mounts") or ()],
        "PortBindings": ports,
        "Memory": min(int(arguments.get("memory_mb") or 0) << 20 or limits.memory, limits.memory),
        "PidsLimit": MOST_PROCESSES,
        "Privileged": privileged,
        "SecurityOpt": [] if privileged else ["no-new-privileges"],
        **({"PidMode": "host"} if arguments.get("host_processes") else {}),
    }
    body: dict[str, Any] = {
        "Image": policy.image(limits, arguments["image"]),
        "Cmd": arguments.get("command"),
        "Entrypoint": arguments.get("entrypoint"),
        "Env": _variables(arguments),
        "User": arguments.get("user"),
        "WorkingDir": arguments.get("working_directory"),
        "ExposedPorts": {key: {} for key in ports},
        "HostConfig": host,
    }
    return {key: value for key, value in body.items() if value is not None}


async def network_mode(engine: Engine, limits: policy.DockerLimits, name: str | None) -> str:
    """Return the network for the engine, by id so that another network cannot take its name meanwhile.

    Raises DockerRefused.
    """
    if name is None:
        return "default" if policy.allowed(limits.networks, "bridge") else "none"
    if name == "none":
        return "none"
    if name == "host":
        if not limits.host_namespaces:
            raise policy.DockerRefused("The host's network may not be shared (`allow_host_namespaces`)")
        return "host"
    details = await engine.get(f"/networks/{segment(policy.name(name, 'network'))}")
    if details.get("Driver") == "host":
        raise policy.DockerRefused("The host's network is asked for by its name, `host`")
    policy.check(limits.networks, str(details["Name"]), "network")
    return "default" if details["Name"] == "bridge" else str(details["Id"])


async def _mount(engine: Engine, limits: policy.DockerLimits, mount: Mapping[str, Any]) -> dict[str, Any]:
    source, target = str(mount["source"]), str(mount["target"])
    read_only = bool(mount.get("read_only", False))
    if source.startswith("/"):
        path = policy.host_path(limits, source)
        if path is None:
            allowed = ", ".join(limits.host_paths) or "none"
            raise policy.DockerRefused(f"{source[:200]} of the host is not in one of `allowed_host_paths` ({allowed})")
        return {"Type": "bind", "Source": path, "Target": target, "ReadOnly": read_only}
    policy.check(limits.volumes, policy.name(source, "volume"), "volume")
    await refuse_volume(engine, limits, source)
    return {"Type": "volume", "Source": source, "Target": target, "ReadOnly": read_only}


async def refuse_volume(engine: Engine, limits: policy.DockerLimits, name: str) -> None:
    """Raise DockerRefused for a volume that stands for a folder of the host, or that holds a worker's keys."""
    try:
        details = await engine.get(f"/volumes/{segment(name)}")
    except EngineError as error:
        if error.status == 404:
            return
        raise
    stands_for = policy.device(details)
    if stands_for and policy.host_path(limits, stands_for) is None:
        raise policy.DockerRefused(
            f"The volume {name} stands for {stands_for[:200]}, which `allowed_host_paths` has not"
        )
    users = {"volume": [name], "label": [f"{policy.WORKER_LABEL}=true"]}
    if await engine.get("/containers/json", all=True, filters=users):
        raise policy.DockerRefused(f"The volume {name} is one of the worker's own")


def _port(key: str, value: Any, limits: policy.DockerLimits) -> tuple[str, list[dict[str, str]]]:
    match = _PORT.fullmatch(key)
    if match is None or not 0 < int(match[1]) < 65536:
        raise policy.DockerRefused(f"{key[:40]!r} is no port of a container, such as 80 or 53/udp")
    bound = {"HostIp": limits.published_address, "HostPort": str(int(value))}
    return f"{match[1]}{match[2] or '/tcp'}", [bound]


def _variables(arguments: Mapping[str, Any]) -> list[str] | None:
    """Return the variables of a container's program, among them the trace that the call belongs to."""
    environment = {**current.variables(), **(arguments.get("environment") or {})}
    for name in environment:
        if not _VARIABLE.fullmatch(name):
            raise policy.DockerRefused(f"{name[:80]!r} is no name of a variable")
    return [f"{name}={value}" for name, value in environment.items()] or None


async def _sweep(engine: Engine) -> None:
    """Remove containers that nobody waits for any more, because their worker was killed."""
    with contextlib.suppress(EngineError):
        for container in await engine.get("/containers/json", all=True, filters={"label": [DEADLINE_LABEL]}):
            deadline = str((container.get("Labels") or {}).get(DEADLINE_LABEL))
            if deadline.isdigit() and int(deadline) < time.time():
                await engine.call("DELETE", f"/containers/{container['Id']}", {"force": True, "v": True})


async def _remove_all(engine: Engine, label: str) -> None:
    """Remove containers by their label, as a cancelled call may have made one without learning its id."""
    async with _in_time():
        for container in await engine.get("/containers/json", all=True, filters={"label": [label]}):
            await engine.call("DELETE", f"/containers/{container['Id']}", {"force": True, "v": True})


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    with contextlib.suppress(EngineError, TimeoutError):
        async with asyncio.timeout(CLEANING):
            yield


def _result(output: BoundedOutput, error: str | None, metadata: dict[str, Any]) -> ToolResult:
    shown = output.text()
    if error:
        shown += ("" if not shown or shown.endswith("\n") else "\n") + f"[{error}]\n"
    metadata |= {"output_bytes": output.total_bytes, "characters_left_out": output.left_out}
    return ToolResult(shown or "[no output]", error=error, metadata=metadata)


def _more(limits: policy.DockerLimits) -> dict[str, Any]:
    """Return the arguments that only some configurations allow, so that others do not offer them."""
    strong: dict[str, Any] = {}
    if limits.privileged:
        strong["privileged"] = {"type": "boolean"}
    if limits.host_namespaces:
        strong["host_processes"] = {"type": "boolean", "description": "Share the host's processes"}
    return {**_timeout(limits), **strong}


def _timeout(limits: policy.DockerLimits) -> dict[str, Any]:
    about = f"Seconds until it is given up; default {limits.timeout:g}"
    return {"timeout": {"type": "number", "minimum": 1, "maximum": limits.timeout, "description": about}}


_COMMAND: Final = {
    "type": "array",
    "items": {"type": "string"},
    "description": 'Program and arguments; ["sh", "-c", "…"] for a shell',
}
_SHARED: Final = {
    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
    "working_directory": text("Absolute, in the container"),
    "user": text("Name or number, with :group"),
}
OPERATIONS: Final = (
    Operation(
        "run_container",
        "Make a container of an image that is there, run its program to the end, read what it wrote, and remove it; or "
        "with `background` leave it running.",
        run_container,
        {
            "image": text("Repository and tag"),
            "command": _COMMAND,
            "entrypoint": {**_COMMAND, "description": "In place of the image's own"},
            "name": text("Of the container", 128),
            "background": {"type": "boolean", "description": "Return as soon as it has started"},
            "network": text("A network's name, or none"),
            "ports": {
                "type": "object",
                "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 65535},
                "description": 'Of the container to the host: {"80": 8080}; 0 lets the engine choose',
            },
            "mounts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "source": text("A volume's name, or an absolute folder of the host that is allowed", 4096),
                        "target": text("Absolute, in the container", 4096),
                        "read_only": {"type": "boolean"},
                    },
                    "required": ["source", "target"],
                    "additionalProperties": False,
                },
            },
            "memory_mb": {"type": "integer", "minimum": 6, "maximum": 1 << 20},
            **_SHARED,
        },
        ("image",),
        changes=True,
        runs=True,
        taints=True,
        timeout=0,
        more=_more,
    ),
    Operation(
        "exec_in_container",
        "Run a program in a container that runs, and read what it wrote.",
        exec_in_container,
        {"container": text("Name or id"), "command": _COMMAND, **_SHARED},
        ("container", "command"),
        changes=True,
        runs=True,
        taints=True,
        timeout=0,
        more=_timeout,
    ),
)
