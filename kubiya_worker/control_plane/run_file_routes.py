"""The control plane's routes about files of executions. Each method raises ControlPlaneError."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from urllib3.exceptions import HTTPError

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.answers import API, READ_TIMEOUT, Answers
from kubiya_worker.control_plane.transport import Transport

TIMEOUT: Final = (2.0, 20.0)  # seconds to connect, and to wait for bytes: a file is sent beside the work


class RunFileRoutes:
    def __init__(self, base_url: str, answers: Answers, wire: Transport) -> None:
        self._base_url, self._answers, self._wire = base_url, answers, wire

    def of(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the files of an execution that are stored: {path, size, sha256, refused}."""
        answer = self._answers.call("GET", f"/executions/{quote(execution_id, safe='')}/files", timeout=READ_TIMEOUT)
        return [each for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []

    def read(self, execution_id: str, path: str, most: int) -> bytes:
        """Return what is in a stored file of an execution, at most `most` bytes."""
        url = f"{self._base_url}{API}/executions/{quote(execution_id, safe='')}/files/{quote(path, safe='')}"
        reply = self._wire.open(url, {}, timeout=TIMEOUT)
        try:
            if reply.status >= 400:
                raise errors.from_status(reply.status, f"The file {path!r} was answered with {reply.status}", None)
            return bytes(reply.read(most))
        except HTTPError as error:
            raise errors.Unreachable(f"The file {path!r} broke off: {error}", remedy="It is tried again") from error
        finally:
            reply.close()

    def store(self, execution_id: str, body: dict[str, Any]) -> None:
        """Store a file {path, content in base64}, or name one {path, size, refused} that is not stored."""
        self._answers.call("POST", f"/executions/{quote(execution_id, safe='')}/files", body, timeout=TIMEOUT)
