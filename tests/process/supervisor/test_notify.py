"""The child's notifications, the watchdog, and whoever supervises the supervisor."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.supervised import Supervised, runs, until


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
