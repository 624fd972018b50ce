"""Run a worker in a container: `--type=docker`, with any engine that speaks Docker's API.

Keys never become part of the container's configuration, because `docker inspect` would show them. They are written to a
volume of the container, as files that only its user can read, before the container starts.
"""

from __future__ import annotations

import io
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import (
    ConfigurationError,
    NotAllowed,
    TemporaryFailure,
    Unavailable,
    UsageError,
    WorkerError,
)
from kubiya_worker.launch.container_start import ContainerExits, until_it_polls
from kubiya_worker.payloads.keys import KeyRing
from kubiya_worker.payloads.options import KEYS_VARIABLE
from kubiya_worker.settings import Settings
from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.table import OPTIONS

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LABEL: Final = "kubiya.worker"
QUEUE_LABEL: Final = "kubiya.queue-id"
CREATOR_LABEL: Final = "kubiya.created-by"
USER: Final = 1000  # the uid and gid of the image's user
SECRETS: Final = "/run/kubiya"  # a volume: the root file system is read-only
STATUS_FILE: Final = "/tmp/worker-status.json"  # noqa: S108 - inside the container
READY_FILE: Final = "/tmp/worker-ready"  # noqa: S108 - the same
STOP_SLACK: Final = 10  # seconds after the worker's grace period until the engine kills it
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
# Variables outside the table of settings that the worker's libraries read.
PROXIES: Final = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
)
# Always passed on, under the names of the worker guide.
ALWAYS_PASSED: Final = {
    "queue_id": "QUEUE_ID",
    "control_plane_url": "CONTROL_PLANE_URL",
    "log_level": "LOG_LEVEL",
    "heartbeat_interval": "HEARTBEAT_INTERVAL",
    "grace_period": "KUBIYA_GRACE_PERIOD",
    "max_concurrent_activities": "MAX_CONCURRENT_ACTIVITIES",
}

Say = Callable[[str], None]


def run(settings: Settings, *, detach: bool, wait: float, say: Say) -> int:
    """Run the worker in a container. Return its exit code; with `detach`, 0.

    With `detach` it returns once the worker polls, or at once when `wait` (seconds) is 0. Raises WorkerError with the
    remedy, also when a detached worker ended for good.
    """
    for line in unused_places(settings):
        say(line)
    files = {**secrets_of(settings), **files_of(settings)}
    client = connect()
    try:
        _have_image(client, settings, say)
        _refuse_second(client, settings.queue_id)
        container = _create(client, settings, detach=detach)
        watch = ContainerExits(container, wait) if detach and wait else None
        try:
            container.put_archive(SECRETS, _archive(files))
            container.start()
        except BaseException:
            container.remove(force=True, v=True)
            raise
        if watch:
            until_it_polls(container, watch, wait, polls, say)
            say(f"ready: it polls the queue {settings.queue_id} (container {container.name})")
        if detach:
            say(f"container {container.name} runs; follow it with: docker logs -f {container.name}")
            return 0
        return _follow(container, settings)
    except _api_error() as error:
        raise _explained(error, settings) from error
    finally:
        client.close()


def connect() -> DockerClient:
    """Connect to an engine that answers. Raises Unavailable, NotAllowed, ConfigurationError."""
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


def polls(container: Container) -> bool | None:
    """Return whether the worker polls; None when the container cannot be asked.

    The ready file exists only while Temporal confirms that the worker polls.
    """
    from docker.errors import APIError

    try:
        return bool(container.exec_run(["cat", READY_FILE]).exit_code == 0)
    except (APIError, OSError):
        return None


def containers(client: DockerClient, queue_id: str | None = None) -> list[Container]:
    """Return the containers of workers, running or not."""
    labels = [f"{LABEL}=true", *([f"{QUEUE_LABEL}={queue_id}"] if queue_id else [])]
    running: list[Container] = client.containers.list(all=True, filters={"label": labels})
    return running


def secrets_of(settings: Settings) -> dict[str, str]:
    """Return the secrets by the name of their variable."""
    secrets = {option.env[0]: getattr(settings, option.name) for option in OPTIONS if option.secret}
    return {name: value for name, value in secrets.items() if value}


def files_of(settings: Settings) -> dict[str, str]:
    """Read the files of this host that the settings name. Return their texts by the name of the variable.

    Raises ConfigurationError when a file cannot be read.
    """
    texts: dict[str, str] = {}
    for option in OPTIONS:
        value = getattr(settings, option.name, None)
        if option.role != "file" or not value:
            continue
        try:
            path = Path(value).expanduser()
            texts[option.env[0]] = KeyRing(path).text if option.env[0] == KEYS_VARIABLE else path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{option.env[0]}: {value} cannot be read: {error}", remedy="Check its path and rights"
            ) from error
    return texts


def environment_of(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables in the container's configuration: settings that are not the default. Pure.

    `docker inspect` shows them, so a secret is given as the name of a file.
    """
    variables = {name: environ[name] for name in (*PROXIES, "WORKER_HOSTNAME") if environ.get(name)}
    variables["KUBIYA_STATUS_FILE"] = STATUS_FILE
    for option in OPTIONS:
        value = getattr(settings, option.name, None)
        if value in (None, "") or not option.env or option.name == "worker_hostname":  # the container has its own
            continue
        name = ALWAYS_PASSED.get(option.name, option.env[0])
        if option.secret:
            variables[f"{name}_FILE"] = f"{SECRETS}/{name}"
        elif option.role == "file":
            variables[name] = f"{SECRETS}/{name}"
        elif option.role == "worker" and (option.name in ALWAYS_PASSED or value != option.default):
            variables[name] = text_of(value)
    return variables


def unused_places(settings: Settings) -> Iterator[str]:
    """Yield a line for each folder or file of this host that was set; the container uses its own instead. Pure.

    Raises ConfigurationError for KUBIYA_READINESS_SOCKET: its reader would wait for ever.
    """
    if settings.readiness_socket:
        raise ConfigurationError(
            "KUBIYA_READINESS_SOCKET is not for --type=docker: a container cannot reach a socket of this host",
            remedy="Unset it; kubiya worker status says when the worker polls",
        )
    for option in OPTIONS:
        value = getattr(settings, option.name, None)
        if option.role == "place" and value not in (None, option.default):
            yield f"{option.env[0]} has no effect with --type=docker: the container uses its own path for it"


def network_of(settings: Settings, system: str) -> dict[str, Any]:
    """Return the network options. A control plane on this machine's loopback needs the host's network (Linux). Pure."""
    if urlsplit(settings.control_plane_url).hostname in LOOPBACK and system == "Linux":
        return {"network_mode": "host"}
    return {"extra_hosts": {"host.docker.internal": "host-gateway"}} if system == "Linux" else {}


def _create(client: DockerClient, settings: Settings, *, detach: bool) -> Container:
    """Create the container without starting it.

    With `detach` it is started again after a crash and after a restart of the engine.
    """
    limits: dict[str, Any] = {}
    if settings.memory:
        limits["mem_limit"] = settings.memory
    if settings.cpus:
        limits["nano_cpus"] = int(settings.cpus * 1e9)
    if detach:
        limits["restart_policy"] = {"Name": "unless-stopped"}
    container: Container = client.containers.create(
        settings.image_reference,
        command=["worker", "start", "--type=local"],
        name=f"kubiya-worker-{settings.queue_id}",
        environment=environment_of(settings, os.environ),
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
    """Return a tar of files that only the image's user can read."""
    import tarfile  # imported here: most users of this module do not need it

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
    """Show the container's output and pass our signals to it until it ends; then remove it. Return its exit code."""
    signalled = threading.Event()

    def forward(number: int, _frame: FrameType | None) -> None:
        signalled.set()
        threading.Thread(target=_signal, args=(container, number), daemon=True).start()

    handlers = {number: signal.signal(number, forward) for number in FORWARDED}
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
        for number, handler in handlers.items():
            signal.signal(number, handler)
        container.remove(force=True, v=True)


def _output(container: Container) -> Iterator[bytes]:
    stream: Iterator[bytes] = container.logs(stream=True, follow=True, stdout=True, stderr=True)
    return stream


def _signal(container: Container, number: int) -> None:
    try:
        container.kill(signal=number)
    except _api_error():
        pass  # the container has ended


def _refuse_second(client: DockerClient, queue_id: str) -> None:
    """Make the container's name free: remove a stopped one. Raises TemporaryFailure when one runs."""
    for container in containers(client, queue_id):
        if container.status in ("running", "restarting", "paused"):
            raise TemporaryFailure(
                f"A worker for queue {queue_id!r} runs already in the container {container.name}",
                remedy=f"Use it, or stop it: kubiya worker stop --queue-id {queue_id}",
            )
        container.remove(v=True)


def _have_image(client: DockerClient, settings: Settings, say: Say) -> None:
    """Pull the image, with a line for each step. A local image is used when the registry cannot be reached."""
    from docker.errors import APIError, ImageNotFound

    image = settings.image_reference
    try:
        is_local = bool(client.images.get(image))
    except ImageNotFound:
        is_local = False
    if settings.pull:
        say(f"pulling {image}")
        try:
            for line in client.api.pull(settings.image, tag=settings.image_tag, stream=True, decode=True):
                if line.get("error"):
                    raise Unavailable(
                        f"{image} cannot be pulled: {line['error']}", remedy="Check --image and --image-tag"
                    )
                if line.get("status", "").startswith(("Digest", "Status", "Pull complete")):
                    say(" ".join(filter(None, (line.get("id"), line["status"]))))
        except (APIError, Unavailable) as error:
            if not is_local:
                raise Unavailable(
                    f"The image {image} cannot be pulled: {getattr(error, 'explanation', None) or error}",
                    remedy="Check --image and --image-tag, the registry and `docker login`",
                ) from error
            say(f"cannot be pulled ({getattr(error, 'explanation', None) or error}); the local image is used")
    elif not is_local:
        raise ConfigurationError(f"There is no image {image} here", remedy="Leave out --pull=false")


def _explained(error: Exception, settings: Settings) -> WorkerError:
    text = str(getattr(error, "explanation", None) or error)
    if "exec format error" in text or "does not match the specified platform" in text:
        return ConfigurationError(
            f"The image {settings.image_reference} is for another processor than this one ({platform.machine()})",
            remedy="Use an image that is built for it",
        )
    if "invalid reference format" in text:
        return UsageError(
            f"{settings.image_reference!r} is not an image's name and tag", remedy="Check --image and --image-tag"
        )
    return Unavailable(f"The Docker engine says: {text}", remedy="docker info, and the engine's own log, say more")


def _api_error() -> type[Exception]:
    from docker.errors import APIError

    return APIError
