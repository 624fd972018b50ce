"""Faults of the control plane, as the worker meets them.

ControlPlaneError          no better class
├── Unreachable       69   network, timeout, 408, 425, 429, 5xx: worth another try
├── Unauthorized      77   401, 403: the key is wrong or has not the right
└── Refused           78   any other 4xx: the same request fails again
"""

from __future__ import annotations

from kubiya_worker.errors import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, WorkerError

RETRYABLE_STATUS = frozenset({408, 425, 429})


class ControlPlaneError(WorkerError):
    """`status` is the HTTP status (None: no answer), `retry_after` is in seconds."""

    def __init__(
        self, message: str, *, remedy: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        return isinstance(self, Unreachable)


class Unreachable(ControlPlaneError):
    """No answer, or one that says: later."""

    exit_code = EX_UNAVAILABLE


class Unauthorized(ControlPlaneError):
    """The API key is wrong, or has not the right."""

    exit_code = EX_NOPERM


class Refused(ControlPlaneError):
    """The request itself is not acceptable."""

    exit_code = EX_CONFIG


def from_status(status: int, message: str, retry_after: float | None) -> ControlPlaneError:
    """The error for an HTTP status of 400 or above."""
    if status in (401, 403):
        return Unauthorized(message, remedy="Check KUBIYA_API_KEY", status=status)
    if status in RETRYABLE_STATUS or status >= 500:
        return Unreachable(message, remedy="It is tried again", status=status, retry_after=retry_after)
    return Refused(message, status=status)


def copied(error: ControlPlaneError) -> ControlPlaneError:
    """For somebody else to raise: a traceback is one raiser's own."""
    return type(error)(error.message, remedy=error.remedy, status=error.status, retry_after=error.retry_after)
