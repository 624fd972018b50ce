"""This module connects a person's commands to the control plane: it chooses URL and key, and explains errors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from kubiya_worker import __version__, loopback
from kubiya_worker.cli import reason
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.answers import API
from kubiya_worker.control_plane.transport import Transport
from kubiya_worker.errors import EX_USAGE, ConfigurationError, NotAllowed
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


class Api:
    """The connection of a person's commands to the control plane. Errors are WorkerErrors with a remedy.

    `cli/api` has a class for each noun, which makes its calls over this.
    """

    def __init__(self, base_url: str, api_key: str, environ: Mapping[str, str]) -> None:
        self.base_url = base_url.rstrip("/")
        self._environ = environ
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": f"kubiya-cli/{__version__}"}
        self._known = False  # whether the server has shown that it is a control plane
        local = urlsplit(base_url).hostname in LOOPBACK  # a proxy cannot reach this machine's own addresses
        self._wire = Transport(self.base_url, headers, connect_timeout=5.0, read_timeout=30.0, direct=local)

    def close(self) -> None:
        self._wire.close()

    def ask(self, method: str, path: str, body: Any = None, *, timeout: tuple[float, float] | None = None) -> Any:
        """Return the answer to a request under /api/v1. Raises ControlPlaneError."""
        why = reason.given() if method != "GET" else ""
        headers = {REASON_HEADER: quote(why)} if why else {}
        try:
            return self._wire.call(method, f"{self.base_url}{API}{path}", body, timeout=timeout, headers=headers)
        except errors.ControlPlaneError as error:
            self._refuse_other_servers(error)
            self._explain(error)
            if error.status == 404 and path.partition("?")[0].count("/") > 1:  # a list that is missing is a wrong URL
                error.exit_code = EX_USAGE
            raise

    def object(
        self, method: str, path: str, body: Any = None, *, timeout: tuple[float, float] | None = None
    ) -> dict[str, Any]:
        """Return the object in the answer; an empty one where the answer is something else."""
        answer = self.ask(method, path, body, timeout=timeout)
        return answer if isinstance(answer, dict) else {}

    def objects(self, path: str) -> list[dict[str, Any]]:
        """Return a list, also when the server wraps it in an object."""
        answer = self.ask("GET", path)
        if isinstance(answer, dict):
            answer = next((v for v in answer.values() if isinstance(v, list)), [])
        return [row for row in answer or [] if isinstance(row, dict)]

    def objects_or_none(self, path: str) -> list[dict[str, Any]]:
        """Return a list; an empty one where this key or this control plane has no such list."""
        try:
            return self.objects(path)
        except errors.ControlPlaneError as error:
            if not_offered(error):
                return []
            raise

    def open(self, path: str, what: str, headers: dict[str, str] | None = None) -> BaseHTTPResponse:
        """Return the response to a GET, to be read piece by piece. `what` names it in the error of a refusal."""
        reply = self._wire.open(f"{self.base_url}{API}{path}", headers or {}, timeout=(5.0, QUIET))
        if reply.status >= 400:
            try:
                detail = str(json.loads(reply.read(64_000)).get("detail") or "")
            except (ValueError, AttributeError, HTTPError):
                detail = ""
            reply.close()
            answered = f"{what} was answered with {reply.status}"
            fault = errors.from_status(reply.status, f"{reply.status}: {detail or answered}", None)
            self._explain(fault)
            raise fault
        return reply

    def _refuse_other_servers(self, error: errors.ControlPlaneError) -> None:
        """Raise Refused for a server that is no control plane. It is asked once, after an answer of any server."""
        answered = isinstance(error, errors.Refused) or error.status is not None
        if answered and error.status in errors.NOT_SERVED and not self._known:
            found = self._wire.foreign()
            if found:
                raise errors.foreign_server(self.base_url, found) from error
            self._known = True

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


def not_offered(error: errors.ControlPlaneError) -> bool:
    """Return whether this control plane has no such list, or does not show it to this key."""
    return isinstance(error, errors.Refused) or error.status == 403


def _detail(error: errors.ControlPlaneError) -> str:
    """Return what the control plane said of a fault, without the request that the message begins with."""
    return error.message.partition(f"{error.status}: ")[2] or error.message
