"""A worker in a container: `--type=docker`, with any engine that speaks Docker's API.

Keys never become part of the container's configuration, where `docker inspect` would show them: they are written into a
volume of the container's own, as files for its user alone, before the container starts.
"""

from __future__ import annotations

import io
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError, NotAllowed, TemporaryFailure, Unavailable, WorkerError
from kubiya_worker.payloads.converter import KEYS_VARIABLE
from kubiya_worker.payloads.keys import KeyRing
from kubiya_worker.settings import Settings
from kubiya_worker.settings.table import OPTIONS

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

DEFAULT_IMAGE: Final = "ghcr.io/kubiyabot/agent-worker"
LABEL: Final = "kubiya.worker"
QUEUE_LABEL: Final = "kubiya.queue-id"
CREATOR_LABEL: Final = "kubiya.created-by"
USER: Final = 1000  # of the image
SECRETS: Final = "/run/kubiya"  # a volume: the root file system is read-only
STOP_SLACK: Final = 10  # seconds over the worker's grace period before the engine kills
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
# Variables that the worker in the container gets as they are here.
RULES: Final = "policy-rules"
PASSED: Final = (
    *("OPENAI_BASE_URL", "LITELLM_API_BASE", "LITELLM_DEFAULT_MODEL", "ENVIRONMENT_NAME", "WORKER_HOSTNAME"),
    *(
        "KUBIYA_DEBUG",
        "KUBIYA_LOG_FORMAT",
        "KUBIYA_PAYLOAD_COMPRESSION",
        "KUBIYA_METRICS_PORT",
        "TEMPORAL_HOST",
        "TEMPORAL_NAMESPACE",
        "SINGLE_EXECUTION",
        "KUBIYA_SINGLE_EXECUTION_MODE",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """`pull`: fetch it first, if the registry has a newer one. `memory` is in bytes, `cpus` a number of cores."""

    name: str = DEFAULT_IMAGE
    tag: str = "latest"
    pull: bool = True
    memory: int | None = None
    cpus: float | None = None

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.tag}"


def run(settings: Settings, image: Image, *, detach: bool, say: Say) -> int:
    """The worker's exit code; with `detach` 0 once the container runs. Raises WorkerError with the remedy."""
    client = connect()
    try:
        _have_image(client, image, say)
        _refuse_second(client, settings.queue_id)
        container = _create(client, settings, image, detach=detach)
        try:
            container.put_archive(SECRETS, _archive({**secrets_of(settings), **_rules(settings)}))
            container.start()
        except BaseException:
            container.remove(force=True, v=True)
            raise
        if detach:
            say(f"container {container.name} runs; follow it with: docker logs -f {container.name}")
            return 0
        return _follow(container, settings)
    except _api_error() as error:
        raise _explained(error, image) from error
    finally:
        client.close()


def connect() -> DockerClient:
    """An engine that answers. Raises Unavailable, NotAllowed, ConfigurationError."""
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as error:
        raise ConfigurationError(
            "The Docker SDK is not installed", remedy="pip install 'kubiya-worker[docker]'"
        ) from error
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        if "Permission denied" in str(error):
            raise NotAllowed(
                f"This user may not use the Docker engine at {address}",
                remedy="sudo usermod -aG docker $USER, and log in again; or use rootless Docker",
            ) from error
        raise Unavailable(
            f"No Docker engine answers at {address}", remedy="Start one (systemctl start docker), or set DOCKER_HOST"
        ) from error
    return client


def containers(client: DockerClient, queue_id: str | None = None) -> list[Container]:
    """Containers of workers, running or not."""
    labels = [f"{LABEL}=true", *([f"{QUEUE_LABEL}={queue_id}"] if queue_id else [])]
    found: list[Container] = client.containers.list(all=True, filters={"label": labels})
    return found


def secrets_of(settings: Settings) -> dict[str, str]:
    """By the variable that names them; the payload keys as their file has them. ConfigurationError if that is wrong."""
    found = {option.env[0]: getattr(settings, option.name) for option in OPTIONS if option.secret}
    if settings.payloads.keys_file:
        found[KEYS_VARIABLE.removesuffix("_FILE")] = KeyRing(settings.payloads.keys_file).text
    return {name: value for name, value in found.items() if value}


def environment_of(settings: Settings, environ: dict[str, str]) -> dict[str, str]:
    """What the container's configuration shows. Pure."""
    passed = {name: environ[name] for name in PASSED if environ.get(name)}
    return {
        **passed,
        "QUEUE_ID": settings.queue_id,
        "CONTROL_PLANE_URL": settings.control_plane_url,
        "LOG_LEVEL": settings.log_level,
        "HEARTBEAT_INTERVAL": f"{settings.heartbeat_interval:g}",
        "KUBIYA_GRACE_PERIOD": f"{settings.grace_period:g}",
        "MAX_CONCURRENT_ACTIVITIES": str(settings.max_concurrent_activities),
        **{f"{name}_FILE": f"{SECRETS}/{name}" for name in secrets_of(settings)},
        **({"KUBIYA_MODEL_OVERRIDE": settings.model_override} if settings.model_override else {}),
        **_enforcement(settings),
    }


def _rules(settings: Settings) -> dict[str, str]:
    """The host's own rules, which a container cannot see otherwise."""
    if not settings.policy_file:
        return {}
    try:
        return {RULES: Path(settings.policy_file).expanduser().read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The policy file {settings.policy_file} cannot be read: {error}") from error


def _enforcement(settings: Settings) -> dict[str, str]:
    """A container that does not know of the policy service, or of the rules, would run what they deny."""
    file = {"KUBIYA_POLICY_FILE": f"{SECRETS}/{RULES}"} if settings.policy_file else {}
    if not settings.enforce_enabled:
        return file
    url = {"ENFORCER_SERVICE_URL": settings.enforcer_url} if settings.enforcer_url else {}
    return {"KUBIYA_ENFORCE_ENABLED": "true", "KUBIYA_ENFORCE_TIMEOUT": f"{settings.enforcer_timeout:g}", **url, **file}


def network_of(settings: Settings, system: str) -> dict[str, Any]:
    """A control plane on this machine's own loopback is reached from the host's network (Linux). Pure."""
    if urlsplit(settings.control_plane_url).hostname in LOOPBACK and system == "Linux":
        return {"network_mode": "host"}
    return {"extra_hosts": {"host.docker.internal": "host-gateway"}} if system == "Linux" else {}


def _create(client: DockerClient, settings: Settings, image: Image, *, detach: bool) -> Container:
    """Not started. With `detach` it comes back after a crash and after the engine's restart."""
    limits: dict[str, Any] = {}
    if image.memory:
        limits["mem_limit"] = image.memory
    if image.cpus:
        limits["nano_cpus"] = int(image.cpus * 1e9)
    if detach:
        limits["restart_policy"] = {"Name": "unless-stopped"}
    container: Container = client.containers.create(
        image.reference,
        command=["worker", "start", "--type=local"],
        name=f"kubiya-worker-{settings.queue_id}",
        environment=environment_of(settings, dict(os.environ)),
        labels={LABEL: "true", QUEUE_LABEL: settings.queue_id, CREATOR_LABEL: "kubiya-cli"},
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108 - inside the container
        volumes=[SECRETS, "/app/data", "/app/logs"],
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user=f"{USER}:{USER}",
        **network_of(settings, platform.system()),
        **limits,
    )
    return container


def _archive(files: dict[str, str]) -> bytes:
    """A tar of files for the image's user alone."""
    import tarfile  # every `kubiya worker start` imports this module, few pack

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o400, USER, USER
            entry.mtime = int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _follow(container: Container, settings: Settings) -> int:
    """Its output here, our signals there, until it ends; then it is removed. Its exit code."""
    asked = threading.Event()

    def forward(number: int, _frame: FrameType | None) -> None:
        asked.set()
        threading.Thread(target=_signal, args=(container, number), daemon=True).start()

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        for chunk in _output(container):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        ended = container.wait(timeout=settings.grace_period + STOP_SLACK + 30)
        container.reload()
        if container.attrs["State"].get("OOMKilled"):
            raise TemporaryFailure("The worker ran out of memory", remedy="Give it more with --memory")
        return int(ended["StatusCode"])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        container.remove(force=True, v=True)


def _output(container: Container) -> Iterator[bytes]:
    stream: Iterator[bytes] = container.logs(stream=True, follow=True, stdout=True, stderr=True)
    return stream


def _signal(container: Container, number: int) -> None:
    try:
        container.kill(signal=number)
    except _api_error():
        pass  # it has ended


def _refuse_second(client: DockerClient, queue_id: str) -> None:
    """One container of a name: a stopped one is replaced, a running one is left alone."""
    for container in containers(client, queue_id):
        if container.status in ("running", "restarting", "paused"):
            raise TemporaryFailure(
                f"A worker for queue {queue_id!r} runs already in the container {container.name}",
                remedy=f"Use it, or stop it: docker rm -f {container.name}",
            )
        container.remove(v=True)


def _have_image(client: DockerClient, image: Image, say: Say) -> None:
    """Pulls with a line for each step. An image that is here serves when the registry cannot be reached."""
    from docker.errors import APIError, ImageNotFound

    try:
        here = bool(client.images.get(image.reference))
    except ImageNotFound:
        here = False
    if image.pull:
        say(f"pulling {image.reference}")
        try:
            for line in client.api.pull(image.name, tag=image.tag, stream=True, decode=True):
                if line.get("error"):
                    raise Unavailable(f"{image.reference} cannot be pulled: {line['error']}")
                if line.get("status", "").startswith(("Digest", "Status", "Pull complete")):
                    say(" ".join(filter(None, (line.get("id"), line["status"]))))
        except (APIError, Unavailable) as error:
            if not here:
                raise Unavailable(
                    f"The image {image.reference} cannot be pulled: {getattr(error, 'explanation', None) or error}",
                    remedy="Check --image and --image-tag, the registry and `docker login`",
                ) from error
            say(f"cannot be pulled ({getattr(error, 'explanation', None) or error}); the image that is here serves")
    elif not here:
        raise ConfigurationError(f"There is no image {image.reference} here", remedy="Leave out --pull=false")


def _explained(error: Exception, image: Image) -> WorkerError:
    text = str(getattr(error, "explanation", None) or error)
    if "exec format error" in text or "does not match the specified platform" in text:
        return ConfigurationError(
            f"The image {image.reference} is for another processor than this one ({platform.machine()})",
            remedy="Use an image that is built for it",
        )
    return Unavailable(f"The Docker engine says: {text}")


def _api_error() -> type[Exception]:
    from docker.errors import APIError

    return APIError
