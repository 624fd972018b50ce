"""A worker where the kernel refuses Landlock, as a unit without the calls does: the setting decides what follows."""

from __future__ import annotations

import errno
import struct
import sys
import threading

import pytest

from kubiya_worker.tools.confinement import restrict, support
from tests.process.worker.conftest import Start
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock is of Linux")

LANDLOCK_CREATE_RULESET = 444
# Load the number of the call; if it is this one, answer EPERM; else allow.
REFUSES = b"".join(
    struct.pack("=HBBI", *each)
    for each in (
        (0x20, 0, 0, 0),
        (0x15, 0, 1, LANDLOCK_CREATE_RULESET),
        (0x06, 0, 0, 0x50000 | errno.EPERM),
        (0x06, 0, 0, 0x7FFF0000),
    )
)


def without_landlock(start: Start, url: str, **env: str) -> Process:
    """Start a worker from a thread that may not use Landlock, which the worker inherits."""
    started: list[Process] = []

    def work() -> None:
        restrict.forbid_new_privileges()
        restrict.filter_calls(REFUSES)
        started.append(start(url, **env))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return started[0]


def test_require_ends_with_78_before_the_control_plane_hears_of_it(start: Start) -> None:
    with ScriptedPlane() as plane:
        worker = without_landlock(start, plane.url, KUBIYA_CONFINEMENT="require")
        assert worker.wait() == 78, worker.lines
        assert not plane.seen
    assert len(worker.lines) == 1, worker.lines
    assert "KUBIYA_CONFINEMENT is require" in worker.lines[0] and "SystemCallFilter=" in worker.lines[0]


def test_by_default_it_starts_and_warns(start: Start) -> None:
    with ScriptedPlane() as plane:
        worker = without_landlock(start, plane.url)
        assert plane.expect("/start")
        worker.expect("confinement.missing")


@pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")
@pytest.mark.parametrize(("env", "event"), [({}, "confinement.on"), ({"KUBIYA_CONFINEMENT": "off"}, "confinement.off")])
def test_the_log_says_whether_tools_are_confined(start: Start, env: dict[str, str], event: str) -> None:
    with ScriptedPlane() as plane:
        worker = start(plane.url, **env)
        worker.expect(event)
