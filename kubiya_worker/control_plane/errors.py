"""Faults of the control plane, as the worker meets them.

ControlPlaneError          no better class
├── Unreachable       69   network, timeout, 408, 425, 429, 5xx: worth another try
│   └── WriteIgnored  69   a 2xx that says `success: false`: nothing was stored
├── Unauthorized      77   401, 403: the key is wrong or lacks the permission
└── Refused           78   any other 4xx: the same request fails again
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from kubiya_worker.errors import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, WorkerError

RETRYABLE_STATUS = frozenset({408, 425, 429})
# Sent by a proxy or a load balancer before a server that is away, or by a server that is overloaded.
# Any other 5xx of the published server mostly means that it broke on a value of the request (docs/protocol.md#a11).
OUTAGE_STATUS = RETRYABLE_STATUS | {502, 503, 504} | frozenset(range(520, 528)) | {529, 530}


# What a server answers that does not know the route or the method, or (None) with something that is not JSON.
NOT_SERVED = frozenset({None, 404, 405, 501})


class ControlPlaneError(WorkerError):
    """The control plane failed. `status` is the HTTP status (None: no answer), `retry_after` is in seconds.

    `problems` has each fault of a 422 with its place in the request: {loc, msg, type} (docs/protocol.md#a1).
    """

    problems: Sequence[Mapping[str, Any]] = ()

    def __init__(
        self, message: str, *, remedy: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        return isinstance(self, Unreachable)

    @property
    def outage(self) -> bool:
        """Return True when nobody answered, or only a proxy before the server did: the request is not at fault."""
        return self.retryable and (self.status is None or self.status in OUTAGE_STATUS)


class Unreachable(ControlPlaneError):
    """The control plane did not answer, or asked to try later."""

    exit_code = EX_UNAVAILABLE


class WriteIgnored(Unreachable):
    """The request was answered as done, and nothing of it was stored (docs/protocol.md#a5)."""


class Unauthorized(ControlPlaneError):
    """The API key is wrong, or lacks the permission."""

    exit_code = EX_NOPERM


class Refused(ControlPlaneError):
    """The request itself was refused; the same request would be refused again."""

    exit_code = EX_CONFIG


def foreign_server(url: str, shown_by: str) -> Refused:
    """Return the error for a server that is no control plane; `shown_by` is what `Transport.foreign` has found."""
    return Refused(
        f"{url} is no Kubiya control plane: {shown_by}",
        remedy="Set CONTROL_PLANE_URL (or CONTROL_PLANE_GATEWAY_URL, which counts first) to the address of one",
    )


def create_queue(queue: str) -> str:
    """Return what to do where a queue is not known: check its name, or create it."""
    document = shlex.quote(f"{{kind: Queue, name: {json.dumps(queue, ensure_ascii=False)}}}")
    return f"Check --queue-id, or create the queue, on a local control plane by:  echo {document} | kubiya apply -f -"


def from_status(status: int, message: str, retry_after: float | None) -> ControlPlaneError:
    """Return the error for an HTTP status of 400 or above."""
    if status in (401, 403):
        return Unauthorized(message, remedy="Check KUBIYA_API_KEY: kubiya doctor tries it", status=status)
    if status in RETRYABLE_STATUS or status >= 500:
        return Unreachable(message, remedy="It is tried again", status=status, retry_after=retry_after)
    return Refused(message, status=status)


def copied(error: ControlPlaneError) -> ControlPlaneError:
    """Return a copy to raise in another place, as one error object must not collect two tracebacks."""
    return type(error)(error.message, remedy=error.remedy, status=error.status, retry_after=error.retry_after)
