"""This module runs commands of `kubiya` in this process, against the routes of `tests.support.api`."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import urllib3

from kubiya_worker.cli.main import call, cli
from kubiya_worker.control_plane.transport import Transport
from tests.support.api import Api

URL = "http://kubiya"


@dataclass(frozen=True)
class Printed:
    """This is what a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """`commands("runs", "ls")` runs a command; it must end with the exit code `code`."""

    def __init__(self, api: Api, patch: pytest.MonkeyPatch) -> None:
        """Take the control plane, and let requests of this process go to it."""
        self.api, self._key = api, api.call("POST", "/keys", {"name": "Root", "role": "admin"})["key"]
        patch.setenv("KUBIYA_API_KEY", self._key)
        patch.setenv("CONTROL_PLANE_URL", URL)
        patch.setattr(Transport, "_request", self._request)

    def _request(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str], *_: Any, preload: bool
    ) -> urllib3.BaseHTTPResponse:
        path = url.removeprefix(f"{URL}/api/v1") if url.startswith(f"{URL}/api/v1") else url.replace(URL, "/")
        body = json.loads(data) if data else None
        answer = self.api.ask(method, path, body, key=False, headers={k: str(v) for k, v in headers.items()})
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "transfer-encoding")}
        return urllib3.HTTPResponse(
            io.BytesIO(answer.content), kept, answer.status_code, preload_content=preload, request_method=method
        )

    def __call__(self, *argv: str, code: int = 0, given: str | None = None) -> Printed:
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        if given is not None:
            sys.stdin = io.StringIO(given)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                ended = call(cli, list(argv))
        finally:
            sys.stdin = before
        printed = Printed(ended, out.getvalue(), err.getvalue())
        assert ended == code, (argv, printed)
        return printed
