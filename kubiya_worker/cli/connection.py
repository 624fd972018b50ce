"""The control plane for a person's commands: choose the URL and the key, and explain errors."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from urllib3 import BaseHTTPResponse

from kubiya_worker import __version__
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.errors import ConfigurationError, NotAllowed, UsageError, WorkerError
from kubiya_worker.launch.state import default_folder, read_env
from kubiya_worker.protocol.names import DEFAULT_CONTROL_PLANE_URL
from kubiya_worker.settings import context
from kubiya_worker.settings.file import read_secret
from kubiya_worker.settings.kinds import url as parse_url
from kubiya_worker.settings.kinds import without_credentials
from kubiya_worker.settings.table import BY_NAME
from kubiya_worker.trust import believe_environment

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
QUIET: Final = 45.0  # seconds without a byte after which a stream counts as dead; the server sends one every 15 s


def connect(environ: Mapping[str, str] | None = None) -> Api:
    """Connect to the control plane that the environment names.

    The key comes from KUBIYA_API_KEY or KUBIYA_API_KEY_FILE, and the URL from its variables or the default. Without a
    key, both come from the current context of `~/.kubiya/config`. Raises NotAllowed without a key, ConfigurationError
    for an invalid URL.
    """
    environ = os.environ if environ is None else environ
    key = environ.get("KUBIYA_API_KEY", "").strip()
    file = environ.get("KUBIYA_API_KEY_FILE", "").strip()
    if not key and file:
        key = read_secret(Path(file).expanduser(), "The API key file")
    names = BY_NAME["control_plane_url"].env
    known = None if key else context.current(environ)
    default = (known.api_url if known else None) or DEFAULT_CONTROL_PLANE_URL
    name, given = next(((n, environ[n]) for n in names if environ.get(n)), ("", default))
    key = key or (known.api_key if known else "")
    try:
        base = parse_url(given.strip())
    except ValueError as error:
        shown = without_credentials(given)
        raise ConfigurationError(f"{name} {shown!r} is not {error}", remedy="Correct it") from error
    if not key:
        raise NotAllowed("No API key is given", remedy=local_stack(environ) or "Set KUBIYA_API_KEY, or run kubiya dev")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise NotAllowed("The API key has characters that no key has", remedy="Check KUBIYA_API_KEY")
    believe_environment(os.environ)
    return Api(base, key, environ)


def local_stack(environ: Mapping[str, str], *, other_than: str = "") -> str:
    """Return the command to type when a `kubiya dev` runs on this machine; empty when none answers."""
    env_file = default_folder(environ) / "env"
    url = read_env(env_file).get("CONTROL_PLANE_URL", "")
    if not url or url == other_than:
        return ""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/health", timeout=1):
            return f"A local stack runs; prepare this shell for it:  . {env_file}"
    except (OSError, ValueError, urllib.error.URLError):
        return ""


class Api(ControlPlane):
    """The worker's client plus the calls of a person's commands. Errors are WorkerErrors with a remedy."""

    def __init__(self, base_url: str, api_key: str, environ: Mapping[str, str]) -> None:
        local = urlsplit(base_url).hostname in LOOPBACK  # a proxy cannot reach this machine's own addresses
        super().__init__(base_url, api_key, user_agent=f"kubiya-cli/{__version__}", direct=local)
        self._environ = environ

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefix: str = "/api/v1",
        timeout: tuple[float, float] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        try:
            return super()._call(method, path, body, prefix=prefix, timeout=timeout, headers=headers)
        except errors.ControlPlaneError as error:
            self._explain(error)
            raise

    def _explain(self, error: errors.ControlPlaneError) -> None:
        """Replace the worker's remedy by one for a person."""
        elsewhere = ""
        if isinstance(error, errors.Unauthorized):
            error.message = f"The control plane at {self.base_url} refuses the API key"
            env_file = default_folder(self._environ) / "env"
            elsewhere = local_stack(self._environ, other_than=self.base_url)
            if read_env(env_file).get("CONTROL_PLANE_URL") == self.base_url:
                elsewhere = f"The local stack has another one than this shell; prepare it again:  . {env_file}"
            error.remedy = elsewhere or "Check KUBIYA_API_KEY"
        elif isinstance(error, errors.Unreachable) and error.status is None:
            elsewhere = local_stack(self._environ, other_than=self.base_url)
            start = "Is kubiya dev running?" if urlsplit(self.base_url).hostname in LOOPBACK else ""
            error.remedy = elsewhere or start or "Check CONTROL_PLANE_URL and the network"
        else:
            _, _, detail = error.message.partition(f"{error.status}: ")
            error.message = f"The control plane says: {detail or error.message}"
            error.remedy = "Try again" if isinstance(error, errors.Unreachable) else ""

    # -- agents and executions

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """Find an agent or a team (`kind`) by id or name. Raises UsageError, which lists the known ones."""
        agents = self._list(f"/{kind}s")
        for key in ("id", "name"):
            for agent in agents:
                if str(agent.get(key)) == name:
                    return agent
        loose = [a for a in agents if str(a.get("name")).lower() == name.lower()]
        if len(loose) == 1:
            return loose[0]
        known = ", ".join(sorted(str(a.get("name")) for a in agents)[:20])
        raise UsageError(
            f"There is no {kind} {name!r}", remedy=f"There are: {known}" if known else "There are none yet"
        )

    def agents(self) -> list[dict[str, Any]]:
        """Return all agents."""
        return self._list("/agents")

    def full_environment(self, kind: str, entity_id: str) -> dict[str, Any]:
        """Return the variables and MCP servers of an agent or a team."""
        found = self._call("GET", f"/execution-environment/{kind}s/{quote(entity_id, safe='')}/resolved/full")
        return dict(found) if isinstance(found, dict) else {}

    def execute(self, kind: str, entity_id: str, body: dict[str, Any]) -> str:
        """Start an execution of an agent or a team. Return its id."""
        try:
            answer = self._object("POST", f"/{kind}s/{quote(entity_id, safe='')}/execute", body)
        except errors.Refused as error:
            if error.status == 404 and body.get("worker_queue_id"):
                raise UsageError(
                    f"There is no worker queue {body['worker_queue_id']!r}", remedy="Check --queue, or leave it out"
                ) from error
            raise
        if not answer.get("execution_id"):
            raise WorkerError(f"{self.base_url} started nothing", remedy="Is this URL a Kubiya control plane?")
        return str(answer["execution_id"])

    def execution(self, execution_id: str) -> dict[str, Any]:
        """Return an execution. Raises UsageError when there is none with this id."""
        if not execution_id.strip():
            raise UsageError("The execution's id is empty", remedy="kubiya exec prints it at the end of a run")
        try:
            return self._object("GET", f"/executions/{quote(execution_id, safe='')}")
        except errors.Refused as error:
            if error.status == 404:
                raise UsageError(f"There is no execution {execution_id}", remedy="Check its id") from error
            raise

    def cancel(self, execution_id: str) -> None:
        self._call("POST", f"/executions/{execution_id}/cancel", {})

    def mark_done(self, execution_id: str) -> None:
        self._call("POST", f"/executions/{execution_id}/mark-done", {})

    def say(self, execution_id: str, text: str) -> None:
        self._call("POST", f"/executions/{execution_id}/message", {"message": text})

    def open_stream(self, execution_id: str, last_event_id: str) -> BaseHTTPResponse:
        """Return the events after `last_event_id`, as a response that is read piece by piece."""
        url = f"{self.base_url}/api/v1/executions/{quote(execution_id, safe='')}/stream"
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Last-Event-ID": last_event_id}
        reply = self._wire.open(url, headers, timeout=(5.0, QUIET))
        if reply.status >= 400:
            reply.close()
            fault = errors.from_status(reply.status, f"The stream answered {reply.status}", None)
            self._explain(fault)
            raise fault
        return reply

    # -- approvals

    def approvals(self, status: str = "") -> list[dict[str, Any]]:
        return self._list(f"/approvals?limit=500{f'&status={quote(status)}' if status else ''}")

    def find_approval(self, key: str) -> dict[str, Any]:
        """Find a request by its id or the first characters of it. Raises UsageError when there is none, or several."""
        try:
            if key.strip():
                return self.get_approval(quote(key, safe=""))
        except errors.Refused as error:
            if error.status != 404:
                raise
        found = [a for a in self.approvals() if str(a.get("id")).startswith(key)] if len(key) >= 4 else []
        if len(found) != 1:
            what = f"{len(found)} requests begin with" if found else "There is no request"
            raise UsageError(f"{what} {key!r}", remedy="kubiya approvals ls shows those that wait")
        return found[0]

    def approve(
        self,
        approval_id: str,
        *,
        comment: str = "",
        arguments: dict[str, Any] | None = None,
        remember: bool = False,
        answer: str | None = None,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"comment": comment, **({"answer": answer} if answer is not None else {})}
        body |= {"arguments": arguments} if arguments is not None else {}
        body |= {"remember": True} if remember else {}
        return self._object("POST", f"/approvals/{approval_id}/approve", body)

    def reject(self, approval_id: str, reason: str = "") -> dict[str, Any]:
        return self._object("POST", f"/approvals/{approval_id}/reject", {"reason": reason})

    # -- jobs

    def jobs(self) -> list[dict[str, Any]]:
        return self._list("/jobs")

    def find_job(self, key: str) -> dict[str, Any]:
        """Find a job by id, name, or the first characters of an id. Raises UsageError, which lists the known ones."""
        every = self.jobs()
        for name in ("id", "name"):
            for job in every:
                if str(job.get(name)) == key:
                    return job
        found = [job for job in every if str(job.get("id")).startswith(key)] if len(key) >= 4 else []
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(str(job.get("name")) for job in every)[:20])
        raise UsageError(f"There is no job {key!r}", remedy=f"There are: {known}" if known else "There are none yet")

    def job(self, job_id: str) -> dict[str, Any]:
        return self._object("GET", f"/jobs/{job_id}")

    def job_executions(self, job_id: str) -> list[dict[str, Any]]:
        return self._list(f"/jobs/{job_id}/executions?limit=10")

    def create_job(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._object("POST", "/jobs", body)

    def trigger_job(self, job_id: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._object("POST", f"/jobs/{job_id}/trigger", {"parameters": parameters})

    def switch_job(self, job_id: str, word: str) -> None:
        """Enable or disable a job; `word` is one of these two words."""
        self._call("POST", f"/jobs/{job_id}/{word}", {})

    def delete_job(self, job_id: str) -> None:
        self._call("DELETE", f"/jobs/{job_id}")

    def _list(self, path: str) -> list[dict[str, Any]]:
        """Return a list, also when the server wraps it in an object."""
        found = self._call("GET", path)
        if isinstance(found, dict):
            found = next((v for v in found.values() if isinstance(v, list)), [])
        return [x for x in found or [] if isinstance(x, dict)]
