"""Errors for people: each knows its exit code and its remedy.

    WorkerError                 70  EX_SOFTWARE     a bug, or a fault with no better class
    ├── UsageError              64  EX_USAGE        the command line is wrong; tried once
    ├── Unavailable             69  EX_UNAVAILABLE  a service that the worker needs cannot be had
    ├── TemporaryFailure        75  EX_TEMPFAIL     worth another try later (a restart, a drain cut short)
    ├── NotAllowed              77  EX_NOPERM       the API key is wrong, or lacks a permission; tried once
    └── ConfigurationError      78  EX_CONFIG       a setting, a queue or an installation is wrong; tried once

The codes are those of sysexits.h, so that systemd's RestartPreventExitStatus and the supervisor read them alike.
"""

from __future__ import annotations

from typing import Final, NamedTuple

EX_OK = 0
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class ExitCode(NamedTuple):
    """An exit code. `again`: whether the supervisor (or systemd) starts a worker again that ended with it."""

    code: int
    name: str
    meaning: str
    again: str


EXIT_CODES: Final = (
    ExitCode(EX_OK, "EX_OK", "done; of a worker: stopped as asked", "no"),
    ExitCode(1, "", "the answer is no: an execution failed, a check failed, there was nothing to stop", ""),
    ExitCode(3, "", "status: the PID file was left by a supervisor that is gone", ""),
    ExitCode(EX_USAGE, "EX_USAGE", "the command line is wrong, or names something that does not exist", "no"),
    ExitCode(EX_UNAVAILABLE, "EX_UNAVAILABLE", "a service that is needed is not available", "yes"),
    ExitCode(EX_SOFTWARE, "EX_SOFTWARE", "a fault of the worker itself", "yes"),
    ExitCode(EX_TEMPFAIL, "EX_TEMPFAIL", "not now: work was cut off, or it is not ready yet; try again", "yes"),
    ExitCode(EX_NOPERM, "EX_NOPERM", "the API key is wrong, or lacks a permission", "no"),
    ExitCode(EX_CONFIG, "EX_CONFIG", "a setting, the queue or the installation is wrong", "no"),
    ExitCode(130, "", "cancelled with Ctrl-C", ""),
    ExitCode(141, "", "the reader of the output has closed it", ""),
)


def reference() -> str:
    """Return the codes as a Markdown table."""
    rows = ["| code | name | meaning | again |", "|---|---|---|---|"]
    rows += [f"| {c.code} | {f'`{c.name}`' if c.name else ''} | {c.meaning} | {c.again} |" for c in EXIT_CODES]
    return "\n".join(rows) + "\n"


class WorkerError(Exception):
    """An error for a person: one sentence about what happened; `remedy` tells what to do next."""

    exit_code = EX_SOFTWARE

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def line(self) -> str:
        """Return the one line that the person reads."""
        text = " ".join(self.message.split())
        return f"{text.removesuffix('.')}. {self.remedy}" if self.remedy else text


class UsageError(WorkerError):
    """The command line cannot be understood or asks for what is not possible."""

    exit_code = EX_USAGE


class Unavailable(WorkerError):
    """A service that the worker needs (control plane, Temporal, a model) cannot be had now."""

    exit_code = EX_UNAVAILABLE


class TemporaryFailure(WorkerError):
    """The operation failed this time; another try later may succeed."""

    exit_code = EX_TEMPFAIL


class NotAllowed(WorkerError):
    """The key is wrong, or does not have the required right."""

    exit_code = EX_NOPERM


class ConfigurationError(WorkerError):
    """A setting, a queue or the installation itself is wrong."""

    exit_code = EX_CONFIG
