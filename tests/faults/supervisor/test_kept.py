"""A process that is named in the folder `keep` outlives its run, and the supervisor only where the spec says so."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker._supervisor.posix import kept, processes
from tests.support.processes import runs
from tests.support.supervised import Supervised, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the scripted child reads /proc")
STEPS = ("ready", "wait")


def supervised(folder: Path, **fields: Any) -> Supervised:
    steps = (f"once:{folder}/x", "spawn:kept", *STEPS)
    return Supervised(folder, *steps, keep=str(folder / "kept"), foreground=False, **fields)


@pytest.mark.parametrize("killed", ["child", "guard"])
def test_it_outlives_the_run_and_a_stop_ends_it(tmp_path: Path, killed: str) -> None:
    with supervised(tmp_path) as it:
        ready, tool = it.ready(), it.spawned()
        child = psutil.Process(ready["worker_pid"])
        guard = child.parent()
        assert guard
        (child if killed == "child" else guard).kill()
        until(lambda: it.state()["state"] == "running" and it.state()["restarts"]["crash"] == 1)
        assert runs(tool)
        it.signal(signal.SIGTERM)
        until(lambda: it.state()["state"] == "stopped")
        assert not runs(tool)


def test_with_keep_beyond_a_stop_leaves_it_running(tmp_path: Path) -> None:
    with supervised(tmp_path, keep_beyond=True) as it:
        it.ready()
        tool = it.spawned()
        it.signal(signal.SIGTERM)
        until(lambda: it.state()["state"] == "stopped")
        assert runs(tool)
        assert kept.end(str(tmp_path / "kept"), processes.table()) == 1
        assert not runs(tool)


@pytest.mark.parametrize("beyond", [False, True])
def test_a_killed_supervisor_takes_it_along_unless_it_may_go_on(tmp_path: Path, beyond: bool) -> None:
    with supervised(tmp_path, keep_beyond=beyond) as it:
        ready, tool = it.ready(), it.spawned()
        guard = psutil.Process(ready["worker_pid"]).parent()
        assert guard
        os.kill(ready["pid"], signal.SIGKILL)
        until(lambda: not runs(ready["worker_pid"]) and not runs(guard.pid))
        assert runs(tool) == beyond


def test_a_file_about_another_process_spares_nobody(tmp_path: Path) -> None:
    table = processes.table()
    own = table.one(os.getpid())
    assert own
    path = kept.name(tmp_path, own.pid, table)
    assert kept.named(str(tmp_path), table) == [own]
    assert kept.without([own], str(tmp_path), table) == []
    path.write_text(path.read_text().replace(own.start, "ticks:1"))
    assert kept.without([own], str(tmp_path), table) == [own]
    assert not path.exists(), "nobody is left who could need it"
