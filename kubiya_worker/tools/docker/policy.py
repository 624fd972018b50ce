"""This module decides what a model may do with a Docker engine, from the configuration and the engine's answers. Pure.

An engine acts as root. A model that may make any container, or run a program in any, controls the host. So access out
of a container (privileges, the host's namespaces and folders, the worker's own containers) is refused unless the
configuration allows it, for containers made here and for those that somebody else made.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

WORKER_LABEL: Final = "kubiya.worker"  # the label of containers that `kubiya worker start --type=docker` makes
ANY: Final = ("*",)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PART: Final = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"(?:(?P<host>(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|localhost|[A-Za-z0-9.-]+(?=:\d))(?::\d{{1,5}})?)/)?"
    rf"(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?P<digest>@sha256:[0-9a-f]{{64}})?"
)
_ID: Final = re.compile(r"(sha256:)?[0-9a-f]{4,64}")
_OWN_SPACES: Final = {
    "NetworkMode": "network",
    "PidMode": "processes",
    "IpcMode": "IPC",
    "UTSMode": "host name",
    "UsernsMode": "users",
}


class DockerRefused(Exception):
    """The call is not allowed; the message names the configuration key that would allow it."""


@dataclass(frozen=True)
class DockerLimits:
    """One skill's limits; patterns are fnmatch's, `host_paths` absolute, `memory` in bytes, `timeout` in seconds."""

    images: tuple[str, ...] = ANY
    containers: tuple[str, ...] = ANY
    networks: tuple[str, ...] = ANY
    volumes: tuple[str, ...] = ANY
    host_paths: tuple[str, ...] = ()
    privileged: bool = False
    host_namespaces: bool = False
    memory: int = 2 << 30
    timeout: float = 300.0
    published_address: str = "127.0.0.1"
    local: bool = True  # the engine shares this host's file system, so links in it can be resolved


def image(limits: DockerLimits, reference: str) -> str:
    """Return the reference of an allowed image, with a tag or a digest; raise DockerRefused."""
    text = reference.strip()
    if _ID.fullmatch(text):
        if limits.images == ANY:
            return text
        raise DockerRefused(f"{text[:80]} can be an image's id; name the image by repository and tag")
    match = _IMAGE.fullmatch(text)
    if match is None:
        raise DockerRefused(
            f"{text[:80]!r} is no name of an image, such as nginx:1.27 or registry.example.com/team/app:2"
        )
    repository, digest = familiar(text[: match.end("path")]), match["digest"] or ""
    tag = digest.removeprefix("@") or match["tag"] or "latest"
    if not any(_image_fits(pattern, repository, tag) for pattern in limits.images):
        raise DockerRefused(f"The image {repository}:{tag} is not one of `allowed_images` ({', '.join(limits.images)})")
    return repository + (digest or f":{tag}")


def _image_fits(wanted: str, repository: str, tag: str) -> bool:
    """Return whether an image fits a pattern; a pattern without a tag fits every tag."""
    if wanted == "*":
        return True
    head, _, last = familiar(wanted).rpartition("/")
    name, colon, wanted_tag = last.partition("@" if "@" in last else ":")
    path = f"{head}/{name}" if head else name
    # A * does not match a slash, or `app*` would match `app.example.com/anything`.
    parts, wanted_parts = repository.split("/"), path.split("/")
    fits = len(parts) == len(wanted_parts) and all(map(fnmatch.fnmatchcase, parts, wanted_parts))
    return (fits or (path.endswith("/*") and fnmatch.fnmatchcase(repository, path))) and (
        not colon or fnmatch.fnmatchcase(tag, wanted_tag)
    )


def familiar(reference: str) -> str:
    """Return the reference as people write it: `docker.io/library/nginx` is `nginx`."""
    for prefix in ("docker.io/", "index.docker.io/"):
        reference = reference.removeprefix(prefix)
    return reference.removeprefix("library/")


def name(text: str, kind: str) -> str:
    """Return a valid name or id; whether it may be used is decided later by the name that the engine gives."""
    if not _NAME.fullmatch(text):
        raise DockerRefused(f"{text[:80]!r} is no name of a {kind}")
    return text


def allowed(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def check(patterns: tuple[str, ...], name: str, kind: str) -> None:
    if not allowed(patterns, name):
        raise DockerRefused(f"The {kind} {name} is not one of `allowed_{kind}s` ({', '.join(patterns)})")


def container(limits: DockerLimits, names: Iterable[str], labels: Mapping[str, str] | None) -> bool:
    """Return whether a container may be seen at all; a worker's own containers hold its keys, so they may not."""
    return (labels or {}).get(WORKER_LABEL) != "true" and any(allowed(limits.containers, n) for n in names)


def reach(limits: DockerLimits, container: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the parts of the host that a container reaches without permission; `container` is the engine's inspection.

    `volumes` are its mounted volumes by name: a volume can stand for a folder of the host.
    """
    host = container.get("HostConfig") or {}
    reaches = []
    if not limits.privileged:
        if host.get("Privileged"):
            reaches.append("it is privileged")
        if host.get("CapAdd"):
            reaches.append(f"it has capabilities added ({', '.join(map(str, host['CapAdd']))[:100]})")
        if host.get("Devices") or host.get("DeviceRequests") or host.get("DeviceCgroupRules"):
            reaches.append("it has devices of the host")
        if any(re.search(r"unconfined|disable", str(option)) for option in host.get("SecurityOpt") or ()):
            reaches.append("its confinement is switched off")
    if not limits.host_namespaces:
        reaches += [f"it has the host's {what}" for key, what in _OWN_SPACES.items() if host.get(key) == "host"]
        reaches += [f"it shares the {what} of another" for key, what in _OWN_SPACES.items() if _joins(host.get(key))]
    for mount in container.get("Mounts") or ():
        source = str(mount.get("Source") or "")
        if mount.get("Type") == "volume":
            source = device(volumes.get(str(mount.get("Name")), {}))
        elif mount.get("Type") != "bind":
            continue
        if source and host_path(limits, source) is None:
            reaches.append(f"it has {source[:100]} of the host mounted")
    return reaches


def _joins(mode: Any) -> bool:
    return str(mode or "").startswith("container:")


def device(volume: Mapping[str, Any]) -> str:
    """Return the device or folder that a local driver's volume stands for.

    Return an empty text for the engine's own folder.
    """
    options = volume.get("Options") or {}
    return str(options.get("device") or "")


def host_path(limits: DockerLimits, source: str) -> str | None:
    """Return the path with links resolved if possible, if it is in `allowed_host_paths` or below one; else None.

    The engine gets this path, so changing a link after the check has no effect.
    """
    resolve = os.path.realpath if limits.local else os.path.normpath
    path = resolve(source)
    if source.startswith("/") and any(PurePosixPath(path).is_relative_to(resolve(one)) for one in limits.host_paths):
        return path
    return None
