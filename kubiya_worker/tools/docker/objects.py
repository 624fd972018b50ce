"""This module has the `docker` operations on images, volumes and networks."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import quote

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.docker import policy, run
from kubiya_worker.tools.docker.engine import Engine, EngineError, segment
from kubiya_worker.tools.docker.operation import Operation, container_of, described, size, table, text

PULLING: Final = 900.0  # seconds
_IMAGE: Final = {"image": text("Repository and tag, such as nginx:1.27; without a tag, latest")}
_VOLUME: Final = {"volume": text("Name", 128)}
_NETWORK: Final = {"network": text("Name or id", 128)}


async def list_images(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    rows = [
        (tag, size(one["Size"]), str(one["Id"]).removeprefix("sha256:")[:12])
        for one in await engine.get("/images/json")
        for tag in one.get("RepoTags") or ("<none>",)
        if _may_see(limits, tag)
    ]
    return table(("image", "size", "id"), rows, "No images.")


def _may_see(limits: policy.DockerLimits, tag: str) -> bool:
    if limits.images == policy.ANY:
        return True
    try:
        return bool(policy.image(limits, tag))
    except policy.DockerRefused:
        return False


async def inspect_image(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    image = await engine.get(f"/images/{_path(policy.image(limits, arguments['image']))}/json")
    config = image.get("Config") or {}
    details = {
        "id": image.get("Id"),
        "tags": image.get("RepoTags"),
        "digests": image.get("RepoDigests"),
        "created": image.get("Created"),
        "platform": f"{image.get('Os')}/{image.get('Architecture')}",
        "size": size(image.get("Size") or 0),
        "entrypoint": config.get("Entrypoint"),
        "command": config.get("Cmd"),
        "user": config.get("User"),
        "working_directory": config.get("WorkingDir"),
        "ports": list(config.get("ExposedPorts") or ()),
        "variables": [str(entry).partition("=")[0] for entry in config.get("Env") or ()],
        "labels": config.get("Labels"),
    }
    return described(details, context.output_limit)


async def pull_image(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    """Pull an image without credentials: an image of a private registry must already be there."""
    reference = policy.image(limits, arguments["image"])
    repository, mark, tag = reference.rpartition("@" if "@" in reference else ":")
    if not mark:
        raise policy.DockerRefused(f"{reference} is an id; name the image by repository and tag")
    last = ""
    try:
        async with (
            asyncio.timeout(PULLING),
            engine.chunks("POST", "/images/create", {"fromImage": repository, "tag": tag}) as chunks,
        ):
            unfinished = b""
            async for chunk in chunks:
                *lines, unfinished = (unfinished + chunk).split(b"\n")
                for line in filter(None, map(bytes.strip, lines)):
                    progress = json.loads(line)
                    if progress.get("error"):
                        raise EngineError(
                            f"{reference} cannot be pulled: {' '.join(str(progress['error']).split())[:500]}"
                        )
                    last = str(progress.get("status") or last)
    except TimeoutError:
        raise EngineError(f"{reference} was not pulled within {PULLING:g} seconds") from None
    return ToolResult(f"Pulled {reference}. {last}".strip())


async def remove_image(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    reference = policy.image(limits, arguments["image"])
    gone = await engine.call("DELETE", f"/images/{_path(reference)}")
    return ToolResult("\n".join(f"{kind} {what}" for one in gone or () for kind, what in one.items()))


def _path(reference: str) -> str:
    return quote(reference, safe="/:@")


async def list_volumes(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    volumes = (await engine.get("/volumes")).get("Volumes") or ()
    rows = [
        (str(volume["Name"]), str(volume["Driver"]), policy.device(volume), str(volume.get("CreatedAt") or ""))
        for volume in volumes
        if policy.allowed(limits.volumes, str(volume["Name"]))
    ]
    return table(("volume", "driver", "stands for", "created"), rows, "No volumes.")


async def inspect_volume(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    details = await engine.get(f"/volumes/{_volume(limits, arguments)}")
    shown = {key.lower(): details.get(key) for key in ("Name", "Driver", "CreatedAt", "Labels", "Mountpoint", "Scope")}
    users = await engine.get("/containers/json", all=True, filters={"volume": [details["Name"]]})
    names = [str(name).removeprefix("/") for one in users for name in one.get("Names") or ()]
    return described({**shown, "stands_for": policy.device(details), "used_by": names}, context.output_limit)


async def create_volume(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    """Create a volume of the local driver without options, as options could make it any folder of the host."""
    name = str(arguments["volume"])
    _volume(limits, arguments)
    body = {"Name": name, "Driver": "local", "Labels": {run.EXECUTION_LABEL: context.execution_id}}
    await engine.call("POST", "/volumes/create", body=body)
    return ToolResult(f"The volume {name} is there.")


async def remove_volume(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    path = _volume(limits, arguments)
    await run.refuse_volume(engine, limits, str(arguments["volume"]))
    await engine.call("DELETE", f"/volumes/{path}")
    return ToolResult(f"Removed the volume {arguments['volume']}.")


def _volume(limits: policy.DockerLimits, arguments: dict[str, Any]) -> str:
    name = policy.name(str(arguments["volume"]), "volume")
    policy.check(limits.volumes, name, "volume")
    return segment(name)


async def list_networks(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    rows = [
        (str(one["Name"]), str(one["Driver"]), "internal" if one.get("Internal") else "", str(one["Id"])[:12])
        for one in await engine.get("/networks")
        if policy.allowed(limits.networks, str(one["Name"]))
    ]
    return table(("network", "driver", "internal", "id"), rows, "No networks.")


async def inspect_network(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    network = await _network(engine, limits, arguments)
    details = {key.lower(): network.get(key) for key in ("Name", "Id", "Driver", "Scope", "Internal", "Labels")}
    addresses = {
        str(one.get("Name")): one.get("IPv4Address") or one.get("IPv6Address")
        for one in (network.get("Containers") or {}).values()
    }
    return described(
        {**details, "subnets": (network.get("IPAM") or {}).get("Config"), "containers": addresses}, context.output_limit
    )


async def create_network(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    name = policy.name(str(arguments["network"]), "network")
    policy.check(limits.networks, name, "network")
    body = {
        "Name": name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Internal": bool(arguments.get("internal", False)),
        "Labels": {run.EXECUTION_LABEL: context.execution_id},
    }
    await engine.call("POST", "/networks/create", body=body)
    return ToolResult(f"The network {name} was made.")


async def remove_network(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    network = await _network(engine, limits, arguments)
    await engine.call("DELETE", f"/networks/{network['Id']}")
    return ToolResult(f"Removed the network {network['Name']}.")


async def connect(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    return await _join(engine, limits, arguments, "connect", "Connected {} to {}.")


async def disconnect(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], context: ToolContext
) -> ToolResult:
    return await _join(engine, limits, arguments, "disconnect", "Disconnected {} from {}.")


async def _join(
    engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any], verb: str, done: str
) -> ToolResult:
    network = await _network(engine, limits, arguments)
    container = await container_of(engine, limits, arguments["container"])
    await engine.call("POST", f"/networks/{network['Id']}/{verb}", body={"Container": container["Id"]})
    return ToolResult(done.format(str(container["Name"]).removeprefix("/"), network["Name"]))


async def _network(engine: Engine, limits: policy.DockerLimits, arguments: dict[str, Any]) -> dict[str, Any]:
    network: dict[str, Any] = await engine.get(
        f"/networks/{segment(policy.name(str(arguments['network']), 'network'))}"
    )
    policy.check(limits.networks, str(network["Name"]), "network")
    return network


_BOTH: Final = {**_NETWORK, "container": text("Name or id")}
IMAGES: Final = (
    Operation("list_images", "List the images that are there.", list_images),
    Operation("inspect_image", "Look at an image: command, ports, user, size.", inspect_image, _IMAGE, ("image",)),
    Operation("pull_image", "Fetch an image.", pull_image, _IMAGE, ("image",), changes=True, timeout=PULLING + 30),
    Operation(
        "remove_image", "Remove an image that no container uses.", remove_image, _IMAGE, ("image",), changes=True
    ),
)
VOLUMES: Final = (
    Operation("list_volumes", "List the volumes.", list_volumes),
    Operation("inspect_volume", "Look at a volume, and who uses it.", inspect_volume, _VOLUME, ("volume",)),
    Operation("create_volume", "Make a volume.", create_volume, _VOLUME, ("volume",), changes=True),
    Operation("remove_volume", "Remove a volume with all in it.", remove_volume, _VOLUME, ("volume",), changes=True),
)
NETWORKS: Final = (
    Operation("list_networks", "List the networks.", list_networks),
    Operation("inspect_network", "Look at a network, and who is in it.", inspect_network, _NETWORK, ("network",)),
    Operation(
        "create_network",
        "Make a network.",
        create_network,
        {"network": text("Name", 128), "internal": {"type": "boolean", "description": "Without a way out"}},
        ("network",),
        changes=True,
    ),
    Operation("remove_network", "Remove a network.", remove_network, _NETWORK, ("network",), changes=True),
    Operation(
        "connect_container_to_network",
        "Put a container into a network.",
        connect,
        _BOTH,
        ("network", "container"),
        changes=True,
    ),
    Operation(
        "disconnect_container_from_network",
        "Take a container out of a network.",
        disconnect,
        _BOTH,
        ("network", "container"),
        changes=True,
    ),
)
