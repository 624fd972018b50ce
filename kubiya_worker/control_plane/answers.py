"""Read answers of the control plane, and decide what a failure means for the caller.

The method says which failures are not raised: `object` raises all, `required` all but a 404, `optional` only an outage,
`or_default` only an outage in which the control plane answers nothing else either.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from kubiya_worker.control_plane import errors

log = logging.getLogger(__name__)

API: Final = "/api/v1"
# Seconds to connect, and to wait for bytes, where an execution goes on without the answer.
OPTIONAL_TIMEOUT: Final = (2.0, 4.0)
READ_TIMEOUT: Final = (3.0, 10.0)  # seconds, for data that an execution can go without
PROBE_TIMEOUT: Final = (1.0, 1.5)


class MakeRequest(Protocol):
    """Make a request to a route below `prefix` and return its JSON. Raises ControlPlaneError."""

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefix: str = API,
        timeout: tuple[float, float] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any: ...


class Answers:
    """Read the answers to requests that `call` makes."""

    def __init__(self, call: MakeRequest) -> None:
        self.call = call

    def object(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefix: str = API,
        timeout: tuple[float, float] | None = None,
    ) -> dict[str, Any]:
        """Return the object in the answer; an empty one where the answer is something else."""
        answer = self.call(method, path, body, prefix=prefix, timeout=timeout)
        return answer if isinstance(answer, dict) else {}

    def required(self, path: str, none: dict[str, Any] | list[Any]) -> Any:
        """Get what restricts an execution: its rules, its configuration. Return `none` only for a 404.

        Raise ControlPlaneError for any other failure, and for an answer of another type than `none`: a fault must not
        be taken for "there is no restriction".
        """
        try:
            answer = self.call("GET", path, timeout=READ_TIMEOUT)
        except errors.ControlPlaneError as error:
            if error.status == 404:
                return none
            raise
        if not isinstance(answer, type(none)):
            kind = type(answer).__name__
            raise errors.Unreachable(f"GET {path} is answered with the type {kind}", remedy="It is tried again")
        return answer

    def optional(self, path: str, default: Any) -> Any:
        """Get an object or a list that may be missing. Return `default` unless there is one of its type; raise only in
        an outage.
        """
        try:
            answer = self.call("GET", path)
        except errors.ControlPlaneError as error:
            if error.outage:  # nobody answered, which does not mean that the object is missing
                raise
            return _default(error, default)
        return _as(answer, default, path)

    def or_default(self, path: str, default: Any, execution_id: str) -> Any:
        """Get data that an execution can do without (protocol.md#a8). Where only this route fails, return `default`."""
        try:
            answer = self.call("GET", path, timeout=READ_TIMEOUT)
        except errors.ControlPlaneError as error:
            if error.outage and not self.is_there(execution_id, OPTIONAL_TIMEOUT):
                raise
            return _default(error, default)
        return _as(answer, default, path)

    def is_there(self, execution_id: str, timeout: tuple[float, float] = PROBE_TIMEOUT) -> bool:
        """Return whether the control plane is there: it reads the execution's row, or says that there is none.

        /api/health is no use here: it answers "healthy" while the database behind it is down.
        """
        try:
            self.call("GET", f"/executions/{execution_id}", timeout=timeout)
        except errors.ControlPlaneError as error:
            return not error.retryable and error.status is not None  # no status: a page of something else, not this API
        return True


def _as(answer: Any, default: Any, path: str) -> Any:
    """Return an answer that has the type of `default` (an object where that is None), else `default`."""
    if isinstance(answer, dict if default is None else type(default)):
        return answer
    if answer is not None:
        log.warning("control_plane.odd_answer path=%s type=%s", path, type(answer).__name__)
    return default


def _default(error: errors.ControlPlaneError, default: Any) -> Any:
    if error.status != 404:
        log.warning("control_plane.missing %s", error)
    return default
