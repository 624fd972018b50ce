"""Find and manage workers in containers, by their labels, on a Docker engine that answers.

Without an engine or without the SDK there are no such workers, and the commands work as if there were no Docker.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kubiya_worker.errors import Unavailable
from kubiya_worker.launch.docker import LABEL, QUEUE_LABEL, STATUS_FILE, STOP_SLACK, polls

if TYPE_CHECKING:
    from docker.models.containers import Container

ANSWERS_WITHIN: Final = 5.0  # seconds: a list must not wait for an engine that hangs
ENGINE_TIMEOUT: Final = 60.0
GRACE: Final = 30.0  # seconds, for a container that does not set it
SOCKET: Final = "/var/run/docker.sock"
LARGEST: Final = 65_536  # bytes of a file that is one secret
LIVING: Final = ("running", "restarting", "paused")


@dataclass(frozen=True)
class FoundContainer:
    """A worker's container. Times are ISO, UTC. `exit_code` is None while it runs; `polling` is None when not known."""

    queue: str
    name: str
    id: str
    image: str
    status: str  # the engine's word: running, restarting, exited, …
    started_at: str
    ended_at: str
    exit_code: int | None
    out_of_memory: bool
    restarts: int
    health: str
    polling: bool | None
    grace: float
    worker_status: dict[str, Any] = field(default_factory=dict)  # the worker's own status file

    @property
    def alive(self) -> bool:
        return self.status in LIVING

    @property
    def word(self) -> str:
        """Return the state as `kubiya worker status` shows it."""
        if self.status == "running":
            return "STARTING" if self.polling is False else "RUNNING"
        return {"restarting": "WAITING", "paused": "PAUSED"}.get(self.status, "STOPPED")

    def as_json(self) -> dict[str, Any]:
        return {
            "queue": self.queue,
            "deployment_type": "docker",
            "state": self.word.lower(),
            "container": self.name,
            "container_id": self.id,
            "image": self.image,
            "engine_says": self.status,
            "health": self.health,
            "polling": self.polling,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit_code": self.exit_code,
            "out_of_memory": self.out_of_memory,
            "restarts": self.restarts,
            "active_tasks": self.worker_status.get("active_tasks"),
            "completed_tasks": self.worker_status.get("completed_tasks"),
            "failed_tasks": self.worker_status.get("failed_tasks"),
        }


def find(queue: str | None = None) -> list[FoundContainer]:
    """Return the workers' containers of one queue, or of all, running or not. Empty when no engine answers."""
    client = _client(ANSWERS_WITHIN)
    if client is None:
        return []
    labels = [f"{LABEL}=true", *([f"{QUEUE_LABEL}={queue}"] if queue else [])]
    try:
        in_engine = client.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return sorted((_facts(each) for each in in_engine), key=lambda found: (found.queue, found.name))
    except OSError:  # the engine has stopped answering
        return []
    finally:
        client.close()


@dataclass(frozen=True)
class ContainerUsage:
    """The use of a container: `cpu` in seconds since its start, `memory` in bytes without the page cache."""

    cpu: float
    memory: int


def usage(found: FoundContainer) -> ContainerUsage | None:
    """Return the use of a container; None when it does not run or the engine does not tell."""
    client = _client(ANSWERS_WITHIN) if found.status == "running" else None
    if client is None:
        return None
    from docker.errors import APIError

    try:
        stats = client.api.stats(found.id, stream=False, one_shot=True)
        cpu, memory = stats["cpu_stats"]["cpu_usage"]["total_usage"], stats["memory_stats"]
        cache = (memory.get("stats") or {}).get("inactive_file", 0)
        return ContainerUsage(cpu / 1e9, int(memory["usage"]) - int(cache))
    except (APIError, OSError, KeyError, TypeError):
        return None
    finally:
        client.close()


def inspected(found: FoundContainer) -> dict[str, Any]:
    """Return what `docker inspect` shows of the container. Raises Unavailable."""
    with _container(found) as container:
        return dict(container.attrs)


def environment_of(found: FoundContainer, is_secret: Callable[[str], bool]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the container's variables, and the contents of its secret files by the variable that names the file.

    Works for a container that has ended, too. Files that the engine does not hand out are left out.
    """
    from docker.errors import APIError

    variables: dict[str, str] = {}
    files: dict[str, bytes] = {}
    try:
        with _container(found) as container:
            pairs = (str(pair).partition("=") for pair in container.attrs["Config"].get("Env") or [])
            variables = {name: value for name, _, value in pairs}
            for name, value in variables.items():
                if is_secret(name) and value.startswith("/"):
                    with contextlib.suppress(APIError, tarfile.TarError):
                        files[name] = _content(container, value)
    except (Unavailable, OSError):
        pass  # the container or its engine is gone
    return variables, files


def _content(container: Container, path: str) -> bytes:
    """Return the content of a regular file; empty when it is larger than LARGEST bytes."""
    pieces, _ = container.get_archive(path)
    packed = io.BytesIO()
    for piece in pieces:
        packed.write(piece)
        if packed.tell() > LARGEST + tarfile.RECORDSIZE:
            return b""
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        members = [member for member in archive if member.isfile()]
        file = archive.extractfile(members[0]) if members else None
        return file.read() if file else b""


def stop(container_info: FoundContainer, *, force: bool = False) -> tuple[float, int | None]:
    """Stop and remove the container. Return the seconds it took and the exit code.

    Running work has the grace period to finish, unless `force` is set. Raises Unavailable when the engine refuses.
    """
    began = time.monotonic()
    with _container(container_info) as container:
        code: int | None = None
        if container_info.alive:
            if force:
                container.kill()
            else:
                container.stop(timeout=int(container_info.grace + STOP_SLACK))
            container.reload()
            code = container.attrs["State"].get("ExitCode")
        container.remove(force=True, v=True)
        return time.monotonic() - began, code


def restart(found: FoundContainer, timeout: float) -> bool:
    """Restart the container in place; running work finishes first. Return whether it polls within `timeout` seconds."""
    with _container(found) as container:
        container.restart(timeout=int(found.grace + STOP_SLACK))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            container.reload()
            if container.status == "running" and polls(container):
                return True
            time.sleep(0.2)
        return False


def lines(found: FoundContainer, *, follow: bool = False, last: int | None = None) -> Iterator[str]:
    """Yield the output, oldest line first, or only the `last` lines. With `follow`, go on until the container ends."""
    with _container(found) as container:
        unfinished = b""
        for chunk in container.logs(stream=True, follow=follow, tail="all" if last is None else last):
            *whole, unfinished = (unfinished + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if unfinished:
            yield unfinished.decode(errors="replace")


def _client(timeout: float) -> Any:
    """Return the client of an engine that answers; None when there is none."""
    if not os.environ.get("DOCKER_HOST") and not Path(SOCKET).exists():
        return None  # most hosts have no Docker: skip the slow import
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        return None
    try:
        client = docker.from_env(timeout=int(timeout))
        client.ping()
    except (DockerException, OSError):
        return None
    return client


@contextmanager
def _container(found: FoundContainer) -> Iterator[Container]:
    """Yield the container, on an engine that gets more time to answer. Raises Unavailable when the engine refuses."""
    from docker.errors import APIError, NotFound

    client = _client(ENGINE_TIMEOUT)
    if client is None:
        raise Unavailable("The Docker engine does not answer any more", remedy="systemctl status docker")
    try:
        yield client.containers.get(found.id)
    except NotFound as error:
        raise Unavailable(
            f"The container {found.name} is gone", remedy="kubiya worker list shows the workers that run"
        ) from error
    except APIError as error:
        raise Unavailable(
            f"The Docker engine says: {error.explanation or error}",
            remedy="docker info, and the engine's own log, say more",
        ) from error
    finally:
        client.close()


def _facts(container: Container) -> FoundContainer:
    state, config = container.attrs["State"], container.attrs["Config"]
    environ = dict(pair.partition("=")[::2] for pair in config.get("Env") or [])
    running = container.status == "running"
    return FoundContainer(
        queue=str(container.labels.get(QUEUE_LABEL, "")),
        name=str(container.name),
        id=str(container.id),
        image=str(config.get("Image", "")),
        status=str(container.status),
        started_at=_stamp(state.get("StartedAt")),
        ended_at="" if running else _stamp(state.get("FinishedAt")),
        exit_code=None if running else state.get("ExitCode"),
        out_of_memory=bool(state.get("OOMKilled")),
        restarts=int(container.attrs.get("RestartCount") or 0),
        health=str((state.get("Health") or {}).get("Status") or ""),
        polling=polls(container) if running else None,
        grace=_seconds(environ.get("KUBIYA_GRACE_PERIOD")),
        worker_status=_read_status(container) if running else {},
    )


def _read_status(container: Container) -> dict[str, Any]:
    """Return the worker's own status file; empty when the image is too old to write it, or it cannot be read."""
    from docker.errors import APIError

    try:
        output = container.exec_run(["cat", STATUS_FILE], stderr=False).output
        status = json.loads(output) if isinstance(output, bytes) and output else {}
    except (APIError, OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def _stamp(text: object) -> str:
    """Shorten Docker's time to whole seconds; "" for its zero (year 1). Python cannot parse its nanoseconds."""
    whole, _, _ = str(text or "").rstrip("Z").partition(".")
    return "" if not whole or whole.startswith("0001") else f"{whole}Z"


def _seconds(text: str | None) -> float:
    try:
        return float(text or GRACE)
    except ValueError:
        return GRACE
