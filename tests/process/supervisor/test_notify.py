"""The child's notifications, the watchdog, and whoever supervises the supervisor."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import runs
from tests.support.supervised import Supervised, until


@pytest.mark.parametrize("portable", [False, True], ids=["kernel", "portable"])
def test_a_child_without_a_sign_of_life_shows_where_it_hangs_and_is_replaced(tmp_path: Path, portable: bool) -> None:
    flag = tmp_path / "flag"
    steps = ["ready", f"once:{flag}", "sleep:1000", "beat:0.1", "wait"]
    with Supervised(tmp_path, *steps, watchdog=1.5, portable=portable) as supervised:
        first = supervised.ready()["worker_pid"]
        state = until(lambda: (s := supervised.state())["state"] == "running" and s["restarts"]["hung"] and s)
        assert (state["deaths"][0]["class"], state["deaths"][0]["signal"]) == ("hung", "SIGABRT")
        assert not runs(first)
        assert "most recent call first" in supervised.text(), "the stack is in the log"
        assert state["child"]["pid"] != first


def test_a_child_that_was_stopped_is_replaced(tmp_path: Path) -> None:
    with Supervised(tmp_path, "ready", "beat:0.1", "wait", watchdog=1.5) as supervised:
        os.kill(supervised.ready()["worker_pid"], signal.SIGSTOP)
        until(lambda: supervised.state()["restarts"]["hung"])


def test_a_child_that_is_never_ready_is_replaced(tmp_path: Path) -> None:
    with Supervised(tmp_path, f"once:{tmp_path}/x", "sleep:1000", "ready", "wait", ready_timeout=1.0) as supervised:
        died = supervised.message(), supervised.message()
        assert died[1] and died[1]["class"] == "hung"
        supervised.ready()


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="the kernel does not tell who sent a message")
def test_a_stranger_who_finds_the_socket_is_not_believed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Supervised(tmp_path, "env:NOTIFY_SOCKET", f"await:{gate}", "ready", "status:mine", "wait") as supervised:
        until(lambda: supervised.lines("NOTIFY_SOCKET="))
        address = supervised.lines("NOTIFY_SOCKET=")[0].partition("=")[2]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"READY=1\nSTATUS=forged", address)
        time.sleep(0.5)  # nothing may come of it
        assert supervised.state()["state"] == "starting"
        gate.touch()
        supervised.ready()
        assert "forged" not in supervised.state_file.read_text()
        until(lambda: supervised.state()["child"]["status"] == "mine")


def test_readiness_is_passed_on_to_who_supervises_the_supervisor(tmp_path: Path) -> None:
    address = str(tmp_path / "up")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as above:
        above.bind(address)
        above.settimeout(30)
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
        with Supervised(tmp_path, "ready", "status:polling", "echo", "wait", environ=environ) as supervised:
            heard: list[str] = []

            def hears(word: str) -> bool:
                heard.append(above.recv(4096).decode())
                return word in heard[-1]

            until(lambda: hears("READY=1"))  # from the start on: the kernel keeps ten messages, and nobody waits
            supervised.ready()
            until(lambda: hears("STATUS=polling"))
            until(lambda: hears("WATCHDOG=1"))
            supervised.signal(signal.SIGTERM)
            until(lambda: hears("STOPPING=1"))
            assert supervised.ended() == 0


def test_a_child_that_never_says_anything_counts_as_hung(tmp_path: Path) -> None:
    """It may hang in an import, before it can say READY=1."""
    steps = [f"once:{tmp_path}/x", "sleep:1000", "ready", "beats:0.1", "wait"]
    with Supervised(tmp_path, *steps, watchdog=2, start_silence=2) as supervised:
        died = supervised.message(), supervised.message()
        assert died[1] and died[1]["class"] == "hung"
        supervised.ready()


def test_the_watchdog_is_armed_for_a_child_whose_ready_was_lost(tmp_path: Path) -> None:
    """It beats, so it has started; then it is silent. Its READY=1 never came."""
    steps = ["hush", "beats:0.2", "wait"]
    for limit in (2, 8, 16):  # on a busy machine a child may not come to beat for two seconds
        (folder := tmp_path / str(limit)).mkdir()
        with Supervised(folder, *steps, watchdog=limit, start_silence=limit) as supervised:
            started = supervised.message()
            assert started
            time.sleep(limit * 1.5)  # longer than the limit: each beat counts
            if supervised.state()["restarts"]["hung"]:
                continue
            os.kill(started["worker_pid"], signal.SIGQUIT)  # beats no more
            until(lambda: supervised.state()["restarts"]["hung"] >= 1)
            return
    raise AssertionError("a child that beats counts as hung")


def test_the_watchdog_is_armed_for_a_child_that_was_told_to_drain_before_it_was_ready(tmp_path: Path) -> None:
    steps = ["hush", "say:up", f"await:{tmp_path}/gate", "ready", "wait"]
    fields: dict[str, Any] = {"watchdog": 2, "start_silence": 2, "drains": "SIGQUIT"}
    with Supervised(tmp_path, *steps, **fields) as supervised:
        assert supervised.message()
        until(lambda: "up" in supervised.text().splitlines())
        supervised.signal(signal.SIGQUIT)
        until(lambda: supervised.state()["state"] == "draining")
        (tmp_path / "gate").touch()
        assert supervised.ended() != 0  # it is replaced by nothing, since it drains, but it does not stand for ever
        assert supervised.state()["deaths"][-1]["class"] == "hung"


def test_saying_that_it_stops_again_and_again_gains_no_time(tmp_path: Path) -> None:
    steps = ["stubborn", "ready", "stops:0.1", "wait"]
    with Supervised(tmp_path, *steps, grace_period=1, kill_after=0.5) as supervised:
        worker = supervised.ready()["worker_pid"]
        until(lambda: not runs(worker))


@pytest.mark.skipif(not hasattr(signal, "pidfd_send_signal"), reason="Linux")
def test_a_guard_that_is_suspended_when_the_child_ends_holds_nothing_up(tmp_path: Path) -> None:
    steps = [f"once:{tmp_path}/x", "finish:0.2", "spawn:stubborn", "ready", "beats:0.2", "wait"]
    with Supervised(tmp_path, *steps, watchdog=3) as supervised:
        ready, tool = supervised.ready(), supervised.spawned()
        guard = psutil.Process(ready["worker_pid"]).parent()
        assert guard
        guard.suspend()
        os.kill(ready["worker_pid"], signal.SIGKILL)
        until(lambda: supervised.state()["child"] and supervised.state()["child"]["pid"] != ready["worker_pid"])
        assert not runs(tool) and not runs(guard.pid)
