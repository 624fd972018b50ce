"""The control plane for a person's commands: choose the URL and the key, and explain errors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from kubiya_worker import __version__, loopback
from kubiya_worker.cli import choice, reason
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.errors import EX_USAGE, ConfigurationError, NotAllowed, Unavailable, UsageError, WorkerError
from kubiya_worker.launch.stack_folder import default_folder, read_env
from kubiya_worker.protocol.names import DEFAULT_CONTROL_PLANE_URL, REASON_HEADER
from kubiya_worker.settings import cli_context
from kubiya_worker.settings.file import read_secret
from kubiya_worker.settings.sources import BAD_KEY, misspelled
from kubiya_worker.settings.table import BY_NAME
from kubiya_worker.settings.value_types import url as parse_url
from kubiya_worker.settings.value_types import without_credentials
from kubiya_worker.trust import use_ca_bundle_of_environment

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
    context = None if key else cli_context.current(environ)
    default = (context.api_url if context else None) or DEFAULT_CONTROL_PLANE_URL
    name, url = next(((n, environ[n]) for n in names if environ.get(n)), ("", default))
    key = key or (context.api_key if context else "")
    try:
        base = parse_url(url.strip())
    except ValueError as error:
        shown = without_credentials(url)
        raise ConfigurationError(
            f"{name} {shown!r} is not {error}", remedy=f"Correct it, or unset it for {default}"
        ) from error
    if not key:
        raise NotAllowed("No API key is given", remedy=local_stack(environ) or "Set KUBIYA_API_KEY, or run kubiya dev")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise NotAllowed("The API key contains characters that a key cannot have", remedy=BAD_KEY)
    use_ca_bundle_of_environment(os.environ)
    return Api(base, key, environ)


def local_stack(environ: Mapping[str, str], *, other_than: str = "") -> str:
    """Return the command to type when a `kubiya dev` runs on this machine; empty when none answers."""
    env_file = default_folder(environ) / "env"
    url = read_env(env_file).get("CONTROL_PLANE_URL", "")
    if not url or url == other_than:
        return ""
    try:
        loopback.page(f"{url}/health", timeout=1)
    except OSError:
        return ""
    return f"A local stack runs here. To use it, run:  . {env_file}"


def meant_url(environ: Mapping[str, str]) -> str:
    """Return what to do about a variable that is meant to name the control plane and does not; empty without one."""
    names = BY_NAME["control_plane_url"].env
    wrong = [(name, meant) for name, meant in misspelled(environ).items() if meant in names]
    return f"{wrong[0][0]} is not a known variable: did you mean {wrong[0][1]}?" if wrong else ""


class Api(ControlPlane):
    """The worker's client plus the calls of a person's commands. Errors are WorkerErrors with a remedy."""

    def __init__(self, base_url: str, api_key: str, environ: Mapping[str, str]) -> None:
        local = urlsplit(base_url).hostname in LOOPBACK  # a proxy cannot reach this machine's own addresses
        super().__init__(base_url, api_key, user_agent=f"kubiya-cli/{__version__}", direct=local)
        self._environ = environ
        self._object = self._answers.object

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
        why = reason.given() if method != "GET" else ""
        if why:
            headers = {**(headers or {}), REASON_HEADER: quote(why)}
        try:
            return super()._call(method, path, body, prefix=prefix, timeout=timeout, headers=headers)
        except errors.ControlPlaneError as error:
            self._explain(error)
            if error.status == 404 and path.partition("?")[0].count("/") > 1:  # a list that is missing is a wrong URL
                error.exit_code = EX_USAGE
            raise

    def _explain(self, error: errors.ControlPlaneError) -> None:
        """Replace the worker's remedy by one for a person."""
        hint = ""
        if error.status == 403:
            error.message = f"The control plane says: {_detail(error)}"
            error.remedy = "Use a key with this right"
        elif isinstance(error, errors.Unauthorized):
            error.message = f"The control plane at {self.base_url} refuses the API key"
            env_file = default_folder(self._environ) / "env"
            hint = local_stack(self._environ, other_than=self.base_url)
            if read_env(env_file).get("CONTROL_PLANE_URL") == self.base_url:
                hint = f"The local stack has another key than this shell. To use it, run:  . {env_file}"
            error.remedy = hint or "Check KUBIYA_API_KEY"
        elif isinstance(error, errors.Unreachable) and error.status is None:
            hint = meant_url(self._environ) or local_stack(self._environ, other_than=self.base_url)
            start = "Is kubiya dev running?" if urlsplit(self.base_url).hostname in LOOPBACK else ""
            error.remedy = hint or start or "Check CONTROL_PLANE_URL and the network"
        else:
            error.message = f"The control plane says: {_detail(error)}"
            error.remedy = "Try again" if isinstance(error, errors.Unreachable) else ""

    def ask(self, method: str, path: str, body: Any = None, *, timeout: tuple[float, float] | None = None) -> Any:
        """Return the answer to a request under /api/v1. Raises ControlPlaneError."""
        return self._call(method, path, body, timeout=timeout)

    # -- agents and executions

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """Find an agent or a team (`kind`) by id or name. Raises UsageError, which lists the known ones."""
        return choice.choose(kind, name, self._list(f"/{kind}s"))

    def queue(self, key: str) -> dict[str, Any]:
        """Find a queue by id, name, or the beginning of one of them. Raises UsageError, which lists the known ones."""
        return choice.choose("queue", key, self._list("/worker-queues"))

    def agent_or_team(self, key: str) -> dict[str, Any]:
        """Find an agent or a team by id, name, or the beginning of one of them. Raises UsageError."""
        return choice.choose("agent or team", key, [*self.agents(), *self.teams()])

    def agents(self) -> list[dict[str, Any]]:
        """Return all agents."""
        return self._list("/agents")

    def teams(self) -> list[dict[str, Any]]:
        """Return all teams; none where this key or this control plane has no such list."""
        return self._list_or_none("/teams")

    def environments(self) -> list[dict[str, Any]]:
        """Return all environments; none where this key or this control plane has no such list."""
        return self._list_or_none("/environments")

    def stop_of_all(self) -> dict[str, Any]:
        """Return the stop of all agents: {stopped, by, reason, at, paused}."""
        return self._object("GET", "/stop")

    def stop_all(self, why: str) -> dict[str, Any]:
        """Stop all agents; one that was stopped before keeps its first reason."""
        return self._object("POST", "/stop", {"reason": why})

    def lift_stop(self) -> dict[str, Any]:
        """Lift the stop: {stopped: false, resumed: a number of executions}."""
        return self._object("DELETE", "/stop")

    def full_environment(self, kind: str, entity_id: str) -> dict[str, Any]:
        """Return the variables and MCP servers of an agent or a team."""
        environment = self._call("GET", f"/execution-environment/{kind}s/{quote(entity_id, safe='')}/resolved/full")
        return dict(environment) if isinstance(environment, dict) else {}

    def execute(self, kind: str, entity_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start an execution of an agent or a team. Return {execution_id, page?}."""
        answer = self._object("POST", f"/{kind}s/{quote(entity_id, safe='')}/execute", body)
        if not answer.get("execution_id"):
            raise WorkerError(f"{self.base_url} started no execution", remedy="Is this URL a Kubiya control plane?")
        return answer

    def execution(self, execution_id: str) -> dict[str, Any]:
        """Return an execution. Raises UsageError when there is none with this id."""
        if not execution_id.strip():
            raise UsageError("The execution's id is empty", remedy="kubiya exec prints it at the end of a run")
        try:
            return self._object("GET", f"/executions/{quote(execution_id, safe='')}")
        except errors.Refused as error:
            if error.status == 404:
                raise UsageError(
                    f"There is no execution {choice.quoted(execution_id)}", remedy="kubiya runs ls shows the ids"
                ) from error
            raise

    def cancel(self, execution_id: str) -> None:
        self._call("POST", f"/executions/{execution_id}/cancel", {})

    def mark_done(self, execution_id: str) -> None:
        self._call("POST", f"/executions/{execution_id}/mark-done", {})

    def send_text(self, execution_id: str, text: str) -> None:
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

    def open_file(self, execution_id: str, path: str) -> BaseHTTPResponse:
        """Return a file of an execution, as a response that is read piece by piece. Raises ControlPlaneError."""
        key, name = quote(execution_id, safe=""), quote(path, safe="")
        reply = self._wire.open(f"{self.base_url}/api/v1/executions/{key}/files/{name}", {}, timeout=(5.0, QUIET))
        if reply.status >= 400:
            try:
                detail = str(json.loads(reply.read(64_000)).get("detail") or "")
            except (ValueError, AttributeError, HTTPError):
                detail = ""
            reply.close()
            fault = errors.from_status(reply.status, f"{reply.status}: {detail or 'there is no such file'}", None)
            self._explain(fault)
            raise fault
        return reply

    # -- approvals

    def approvals(self, status: str = "", queue: str = "") -> list[dict[str, Any]]:
        """Return requests for approval, newest first; with a queue, by id or name, those of its executions."""
        filters = {"limit": "500", **({"status": status} if status else {}), **({"queue": queue} if queue else {})}
        return self._list(f"/approvals?{urlencode(filters)}")

    def find_approval(self, key: str) -> dict[str, Any]:
        """Find a request by its id or the first characters of it. Raises UsageError when there is none, or several."""
        try:
            if key.strip():
                return self.get_approval(quote(key, safe=""))
        except errors.Refused as error:
            if error.status != 404:
                raise
        return choice.choose("request", key, self.approvals(), fields=("id",))

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

    def reject(self, approval_id: str, why: str = "") -> dict[str, Any]:
        return self._object("POST", f"/approvals/{approval_id}/reject", {"reason": why})

    # -- secrets

    def secret_list(self) -> list[dict[str, Any]]:
        """Return the secrets without their values."""
        return self._list("/secrets")

    def set_secret(self, name: str, body: dict[str, str]) -> dict[str, Any]:
        """Set a secret's {value} or {source}."""
        return self._object("PUT", f"/secrets/{quote(name, safe='')}", body)

    def remove_secret(self, name: str) -> None:
        self._call("DELETE", f"/secrets/{quote(name, safe='')}")

    # -- keys

    def api_keys(self) -> list[dict[str, Any]]:
        return self._list("/keys")

    def create_key(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the new key with what is known of it; no other answer ever has `key`."""
        return self._object("POST", "/keys", body)

    def change_key(self, key_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change what the body names, with null for no limit or no end; return what is known of the key."""
        return self._object("PATCH", f"/keys/{quote(key_id, safe='')}", body)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        return self._object("DELETE", f"/keys/{quote(key_id, safe='')}")

    # -- definitions

    def apply(
        self, documents: Sequence[Mapping[str, Any]], *, source: str, prune: bool = False, dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Make the definitions as the documents say, all or none; return each change {kind, name, action, differences}.

        Raises Refused, whose `problems` name the document and the field.
        """
        body = {"documents": list(documents), "source": source, "prune": prune, "dry_run": dry_run}
        return list(self._object("POST", "/definitions/apply", body)["changes"])

    def definitions(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the stored definitions as documents {kind, name, spec}, of all kinds or of one."""
        return list(self._object("GET", f"/definitions?kind={quote(kind, safe='')}")["documents"])

    def definition(self, kind: str, name: str) -> dict[str, Any]:
        return self._object("GET", _definition(kind, name))

    def delete_definition(self, kind: str, name: str, *, force: bool = False) -> dict[str, Any]:
        """Delete an object; return the change. `force` ends or disables whoever needs it: `ended` lists them."""
        return self._object("DELETE", _definition(kind, name) + ("?force=true" if force else ""))

    def history(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Return the versions of a definition, newest first: {version, action, by, at, spec, differences}."""
        return list(self._object("GET", f"{_definition(kind, name)}/history")["versions"])

    def roll_back(self, kind: str, name: str, version: int) -> dict[str, Any]:
        """Make a definition as it was in a version; return the change."""
        return self._object("POST", f"{_definition(kind, name)}/rollback", {"version": version})

    def mcp_servers(self) -> list[dict[str, Any]]:
        """Return the MCP servers that definitions name; none where this key or this control plane has no such list."""
        return self._list_or_none("/mcp-servers")

    def try_on_worker(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Let a worker test the MCP server of what has this path; return the outcome, within two minutes."""
        return self._object("POST", f"{path}/test", body, timeout=(5.0, 130.0))

    def _list_or_none(self, path: str) -> list[dict[str, Any]]:
        try:
            return self._list(path)
        except errors.ControlPlaneError as error:
            if not_offered(error):
                return []
            raise

    # -- jobs

    def jobs(self) -> list[dict[str, Any]]:
        return self._list("/jobs")

    def find_job(self, key: str) -> dict[str, Any]:
        """Find a job by id, name, or the first characters of an id. Raises UsageError, which lists the known ones."""
        return choice.choose("job", key, self.jobs())

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

    # -- audit

    def audit(self, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
        """Return the newest records that fit, the newest first."""
        return self._list(f"/audit?{urlencode({**{k: v for k, v in filters.items() if v}, 'limit': limit})}")

    def audit_head(self) -> str:
        """Return NUMBER:HASH of the last record."""
        return str(self._object("GET", "/audit/head")["head"])

    def audit_begin(self) -> str:
        """Return NUMBER:HASH of the last record that was removed; an empty text while all are there."""
        return str(self._object("GET", "/audit/head").get("begins") or "")

    def audit_lines(self, after: int = 0) -> Iterator[str]:
        """Yield the records after a number, in their order, without holding them all."""
        reply = self._wire.open(f"{self.base_url}/api/v1/audit/export?after={after}", {}, timeout=(5.0, QUIET))
        try:
            if reply.status >= 400:
                fault = errors.from_status(reply.status, f"The export answered {reply.status}", None)
                self._explain(fault)
                raise fault
            for line in TextIOWrapper(cast(IO[bytes], reply), encoding="utf-8"):
                yield line.rstrip("\n")
        except HTTPError as error:  # without this, a cut connection would look like records that are missing
            raise Unavailable(f"The export broke off: {error}", remedy="Try again") from error
        finally:
            reply.close()

    def _list(self, path: str) -> list[dict[str, Any]]:
        """Return a list, also when the server wraps it in an object."""
        answer = self._call("GET", path)
        if isinstance(answer, dict):
            answer = next((v for v in answer.values() if isinstance(v, list)), [])
        return [row for row in answer or [] if isinstance(row, dict)]


def not_offered(error: errors.ControlPlaneError) -> bool:
    """Return whether this control plane has no such list, or does not show it to this key."""
    return isinstance(error, errors.Refused) or error.status == 403


def _detail(error: errors.ControlPlaneError) -> str:
    """Return what the control plane said of a fault, without the request that the message begins with."""
    return error.message.partition(f"{error.status}: ")[2] or error.message


def _definition(kind: str, name: str) -> str:
    return f"/definitions/{quote(kind, safe='')}/{quote(name, safe='')}"
