"""The lines of Temporal's SDK become such that an operator can read."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import sys
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from kubiya_worker.process import logging

level, error = sys.argv[1], eval(sys.argv[2])
logging.configure(level, "json", lambda text: text.replace("sk-secret", "[redacted]"))

def fails():
    try:
        raise error
    except BaseException:
        extra = {"__temporal_error_identifier": "ActivityFailure"}
        activity.logger.warning("Completing activity as failed", exc_info=True, extra=extra)
        activity.logger.warning("Another line of the SDK")

ActivityEnvironment().run(fails)
"""
TOLD = "ApplicationError('The endpoint answered 503: sk-secret', type='Unavailable')"
FOR_EVER = "ApplicationError('The model is not there', type='ModelError', non_retryable=True)"


def lines(level: str, error: str) -> tuple[dict[str, object], dict[str, object]]:
    argv = [sys.executable, "-c", PROGRAM, level, error]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    first, second = (json.loads(line) for line in done.stdout.splitlines() if "asyncio" not in line)
    return first, second


def test_a_failure_on_purpose_is_told_without_a_traceback() -> None:
    line, other = lines("INFO", TOLD)
    assert (line["event"], line["level"], line["type"]) == ("step.failed", "warning", "Unavailable")
    assert line["error"] == "The endpoint answered 503: [redacted]"
    assert (line["step"], line["attempt"], line["workflow"]) == ("unknown", 1, "test")
    assert "exception" not in line and "tried_again" not in line
    assert str(other["event"]).startswith("Another line of the SDK")


def test_a_failure_for_ever_says_that_it_is_not_tried_again() -> None:
    line, _ = lines("INFO", FOR_EVER)
    assert (line["tried_again"], line["error"]) == ("no", "The model is not there")


def test_a_bug_keeps_its_traceback() -> None:
    line, _ = lines("INFO", "KeyError('x')")
    assert line["event"] == "step.failed"
    assert "KeyError: 'x'" in str(line["exception"])


def test_at_debug_every_failure_has_its_traceback() -> None:
    line, _ = lines("DEBUG", TOLD)
    assert "Traceback" in str(line["exception"])


def test_a_step_that_temporal_gave_away_says_so() -> None:
    line, _ = lines("INFO", "__import__('asyncio').CancelledError('Activity cancelled')")
    assert (line["event"], line["type"], line["error"]) == ("step.failed", "cancelled", "The step was cancelled")
    assert "exception" not in line


CORE = """
import logging as library
from types import SimpleNamespace
from kubiya_worker.process import logging
from kubiya_worker.temporal_connection import core_log

logging.configure("INFO", "json", lambda text: text.replace("sk-secret", "[redacted]"))
fields = {"task_token": "TaskToken(Ci", "details": "sk-secret", "retries": 3, "seconds": "x"}
library.getLogger(core_log.CORE).warning("A poll failed", extra={"temporal_log": SimpleNamespace(fields=fields)})
"""


def test_a_line_of_the_core_has_its_fields_but_no_opaque_one() -> None:
    done = subprocess.run([sys.executable, "-c", CORE], capture_output=True, text=True, timeout=60, check=True)
    line = json.loads(done.stdout)
    assert (line["event"], line["retries"], line["details"]) == ("A poll failed", 3, "[redacted]")
    assert "task_token" not in line
    assert line["core_seconds"] == "x", "the text form writes `seconds` as a number"
